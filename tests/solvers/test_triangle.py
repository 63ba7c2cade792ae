"""Triangles by reflections, and what is solved with them, beside LAPACK's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from optiscope.solvers import least_squares
from optiscope.solvers.box import boxed
from optiscope.solvers.triangle import pivoted, pseudoinverse, solved, solved_transposed, triangle

SHAPES = [(1, 1), (1, 3), (4, 1), (2, 2), (3, 3), (2, 5), (15, 3), (40, 5), (6, 6), (6, 30), (21, 21), (60, 25)]


def matrices(m, n):
    rng = np.random.default_rng(m + 100 * n)
    plain = rng.normal(size=(m, n))
    twice = plain.copy()
    twice[:, -1] = twice[:, 0]
    return {
        "plain": plain,
        "a column twice": twice,
        "graded": plain * 10.0 ** (-9 * np.arange(n) / n),
        "polynomials": np.vander(np.linspace(0, 1, m), n),
        "zero": 0 * plain,
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_triangles(shape, dtype):
    for name, A in matrices(*shape).items():
        A, b = A.astype(dtype), np.random.default_rng(0).normal(size=shape[0]).astype(dtype)
        small = 20 * shape[0] * np.finfo(dtype).eps
        R, c = map(np.asarray, jax.jit(triangle)(A, b))
        factors = jax.jit(pivoted)(A, b)
        assert R.shape == factors.R.shape == (min(shape), shape[1])
        np.testing.assert_array_equal(R, np.triu(R))
        for R_, c_ in ((R, c), (factors.R, factors.c)):
            np.testing.assert_allclose(R_.T @ R_, A.T @ A, atol=small * (1 + np.linalg.norm(A) ** 2), err_msg=name)
            np.testing.assert_allclose(R_.T @ c_, A.T @ b, atol=small * (1 + 9 * np.linalg.norm(A)), err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_lengths_are_lapacks_and_tell_the_rank(shape):
    for name, A in matrices(*shape).items():
        lengths = np.asarray(jax.jit(pivoted)(A, np.ones(shape[0])).lengths)
        exact = np.abs(np.diag(scipy.linalg.qr(A, mode="r", pivoting=True)[0]))
        np.testing.assert_allclose(lengths, exact, rtol=1e-6, atol=1e-13 * (1 + exact[0]), err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pseudoinverse_solves_as_numpy_does(shape):
    b = np.random.default_rng(1).normal(size=shape[0])
    for name, A in matrices(*shape).items():
        R, c, order, lengths = pivoted(A, b)
        known = lengths > 1e-13 * lengths[0]
        R, c = jnp.where(known[:, None], R, 0), jnp.where(known, c, 0)
        inverse = np.asarray(jax.jit(pseudoinverse)(R, order, known))
        s = np.linalg.svd(A, compute_uv=False)
        if ((s < 1e-10 * s[0]) & (s > 1e-15 * s[0])).any():
            # Whether such a singular value counts is a matter of taste.
            continue
        condition = s[0] / s[s >= 1e-10 * s[0]][-1] if s[0] else 1
        want = np.linalg.pinv(A, rcond=1e-13) @ b
        np.testing.assert_allclose(
            inverse @ np.asarray(c), want, atol=1e-14 * condition * (1 + np.linalg.norm(want)), err_msg=name
        )


def test_substitution():
    R, c = jnp.triu(np.random.default_rng(0).normal(size=(7, 7))) + 3 * jnp.eye(7), jnp.arange(7.0)
    np.testing.assert_allclose(R @ np.asarray(solved(R, c)), c, atol=1e-13)
    np.testing.assert_allclose(R.T @ np.asarray(solved_transposed(R, c)), c, atol=1e-13)


def test_a_batch_is_its_lanes():
    A, b = np.random.default_rng(0).normal(size=(7, 5, 3)), np.ones((7, 5))
    batch = jax.vmap(pivoted)(A, b)
    for i in range(7):
        for all_, one in zip(batch, pivoted(A[i], b[i]), strict=True):
            np.testing.assert_allclose(all_[i], one, atol=1e-14)


@pytest.mark.parametrize("n", [2, 10])
def test_least_squares_of_few_unknowns_call_nothing_out_of_their_loop(n):
    def solve(x):
        return least_squares(lambda x: jnp.append(10 * (x[1:] - x[:-1] ** 2), 1 - x[0]), x).x

    assert "custom-call" not in jax.jit(solve).lower(jnp.ones(n)).compile().as_text()


@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (30, 25)])
def test_a_step_in_a_box_is_the_bounded_minimiser(shape, lam):
    solve = jax.jit(boxed)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        m, n = shape
        A, b = rng.normal(size=shape), 3 * rng.normal(size=m)
        A /= np.linalg.norm(A, axis=0)
        low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
        # Some variables begin on a bound, some have no bounds, and one is fixed.
        low[0], high[1], low[2:4], high[3:5], low[5], high[5] = 0, 0, -np.inf, np.inf, 0, 0
        R, c = triangle(A, b)
        z = np.asarray(solve(R, c, lam, np.ones(n, bool), low, high))
        assert ((low <= z) & (z <= high)).all()
        # Of a convex function the bounds hold what would fall outwards, and all else is level.
        gradient = A.T @ (A @ z + b) + lam * z
        outward = np.select([z == low, z == high], [gradient, -gradient], -np.abs(gradient))
        assert outward[low < high].min() > -1e-9
