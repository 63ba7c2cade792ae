"""The random basis of the quadratics is uniform, up to its vectors' signs."""

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope.tasks.quadratics import _basis


def test_the_basis_is_orthonormal_and_uniform():
    n, draws = 5, 20_000
    q = np.asarray(jax.vmap(lambda key: _basis(key, n))(jax.random.split(jax.random.key(0), draws)))
    np.testing.assert_allclose(q @ q.transpose(0, 2, 1), np.broadcast_to(np.eye(n), q.shape), atol=1e-12)
    # The fourth moments of Haar measure (Weingarten); the tolerances are five standard errors.
    np.testing.assert_allclose((q**4).mean(axis=0), 3 / (n * (n + 2)), atol=0.0043)
    np.testing.assert_allclose((q[:, 0, 0] ** 2 * q[:, 0, 1] ** 2).mean(), 1 / (n * (n + 2)), atol=0.0015)
    apart = (n + 1) / (n * (n + 2) * (n - 1))
    np.testing.assert_allclose((q[:, 0, 0] ** 2 * q[:, 4, 3] ** 2).mean(), apart, atol=0.0025)


def test_one_dimension_has_one_basis():
    assert _basis(jax.random.key(0), 1) == pytest.approx(1)
    assert osc.run(osc.rule("gd", lr=0.1), osc.task("quadratic", n=1), steps=2, seeds=2).loss.shape == (2, 3)
