"""Eigenvalues by rotations, beside LAPACK's."""

import jax
import numpy as np
import pytest

from optiscope.solvers.jacobi import FEW, eigh


@pytest.mark.parametrize(("dtype", "scales"), [(np.float64, (1e-150, 1e150)), (np.float32, (1e-18, 1e18))])
def test_any_scale_that_the_numbers_have(dtype, scales):
    J = np.random.default_rng(0).normal(size=(4, 4))
    for scale in scales:
        H = (scale * (J + J.T)).astype(dtype)
        values = np.asarray(eigh(H)[0], float) / scale
        np.testing.assert_allclose(values, np.linalg.eigvalsh(H.astype(float) / scale), atol=60 * np.finfo(dtype).eps)


@pytest.mark.parametrize("k", range(1, FEW + 2))
def test_eigenvalues_and_vectors(k):
    rng = np.random.default_rng(k)
    A = rng.normal(size=(k, k))
    Q = np.linalg.qr(A)[0]
    signs = (Q * np.where(np.arange(k) % 2, 1.0, -1.0)) @ Q.T
    for H in (A + A.T, np.ones((k, k)), (signs + signs.T) / 2, np.diag(-(10.0 ** -np.arange(k))), 0 * A):
        values, vectors = map(np.asarray, jax.jit(eigh)(H))
        np.testing.assert_allclose(values, np.linalg.eigvalsh(H), atol=1e-14 * k)
        np.testing.assert_allclose(vectors * values @ vectors.T, H, atol=1e-14 * k)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-14 * k)


def test_a_batch_is_its_lanes():
    J = np.random.default_rng(0).normal(size=(7, 5, 3))
    batch = jax.vmap(eigh)(J.mT @ J)
    for i in range(7):
        for all_, one in zip(batch, eigh(J[i].T @ J[i]), strict=True):
            np.testing.assert_allclose(all_[i], one, atol=1e-14)
