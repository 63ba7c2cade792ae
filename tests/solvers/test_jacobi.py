"""Singular values and eigenvalues by rotations, beside LAPACK's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optiscope.solvers import least_squares
from optiscope.solvers.jacobi import FEW, eigh, svd

SHAPES = [(1, 1), (1, 3), (4, 1), (2, 2), (3, 3), (2, 5), (15, 3), (40, 5), (6, 6), (6, 30), (FEW + 1, FEW + 1)]


def matrices(m, n):
    rng = np.random.default_rng(m + 100 * n)
    plain = rng.normal(size=(m, n))
    twice = plain.copy()
    twice[:, -1] = twice[:, 0]
    orthogonal = np.linalg.qr(rng.normal(size=(max(m, n), max(m, n))))[0][:m, :n]
    return {
        "plain": plain,
        "a column twice": twice,
        "graded": plain * 10.0 ** (-3 * np.arange(n)),
        "polynomials": np.vander(np.linspace(0, 1, m), n),
        "equal singular values": orthogonal,
        "zero": 0 * plain,
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singular_values_and_vectors(shape, dtype):
    for name, J in matrices(*shape).items():
        r = np.random.default_rng(0).normal(size=shape[0])
        J, r = J.astype(dtype), r.astype(dtype)
        s, V, c = map(np.asarray, jax.jit(svd)(J, r))
        small = 50 * np.finfo(dtype).eps
        exact = np.linalg.svd(J.astype(float), compute_uv=False)
        np.testing.assert_allclose(np.sort(s)[::-1], exact, atol=small * max(1, exact[0]), err_msg=name)
        # What J is to its columns' space: JᵀJ = Vᵀ s² V and Jᵀr = Vᵀ s c.
        np.testing.assert_allclose(V.T * s**2 @ V, J.T @ J, atol=small * max(1, exact[0] ** 2), err_msg=name)
        np.testing.assert_allclose((s * c) @ V, J.T @ r, atol=small * max(1, exact[0]) * 10, err_msg=name)
        rows = V[s > 1e-3 * exact[0]]
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=100 * small, err_msg=name)


def test_small_singular_values_have_all_their_digits():
    """Of a well-conditioned matrix with scaled columns; LAPACK's keep only those of the largest."""
    J = np.array([[1.0, 1e-9], [1.0, -1e-9]])
    s, *_ = svd(J, np.ones(2))
    np.testing.assert_allclose(np.sort(s), np.sqrt(2) * np.array([1e-9, 1.0]), rtol=1e-15)


@pytest.mark.parametrize(("dtype", "scales"), [(np.float64, (1e-150, 1e150)), (np.float32, (1e-18, 1e18))])
def test_any_scale_that_the_numbers_have(dtype, scales):
    rng = np.random.default_rng(0)
    for scale in scales:
        J, r = (scale * rng.normal(size=(7, 4))).astype(dtype), np.ones(7, dtype)
        s, *_ = svd(J, r)
        exact = np.linalg.svd(J.astype(float) / scale, compute_uv=False)
        np.testing.assert_allclose(np.sort(np.asarray(s, float) / scale)[::-1], exact, rtol=30 * np.finfo(dtype).eps)
        H = J[:4] + J[:4].T
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
    J, r = np.random.default_rng(0).normal(size=(7, 5, 3)), np.ones((7, 5))
    H = J.mT @ J
    for function, arguments in ((svd, (J, r)), (eigh, (H,))):
        batch = jax.vmap(function)(*arguments)
        for i in range(7):
            for all_, one in zip(batch, function(*(a[i] for a in arguments)), strict=True):
                np.testing.assert_allclose(all_[i], one, atol=1e-14)


def test_least_squares_of_few_unknowns_calls_nothing_out_of_its_loop():
    def solve(x):
        return least_squares(lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), x).x

    assert "custom-call" not in jax.jit(solve).lower(jnp.ones(2)).compile().as_text()
