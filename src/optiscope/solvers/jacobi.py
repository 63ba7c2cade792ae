"""Eigenvalues of small matrices by Jacobi's rotations, which become part of the loop around them.

LAPACK's are calls out of the loop, which keep XLA from making one kernel of it (`xla.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .walk import eps, or_one

FEW = 6
"""Up to so many values the rotations are faster than LAPACK, also in a batch, and where no kernel comes about."""
SWEEPS = 30
"""More than they ever take: four to ten."""


def eigh(A: Any) -> tuple[Any, Any]:
    """The eigenvalues (k,) of a symmetric A (k, k), ascending, and Q (k, k) in A = Q diag(λ) Qᵀ (Jacobi, 1846)."""
    k = len(A)
    if k > FEW:
        return jnp.linalg.eigh(A)
    scale = _scale(A)
    A = A / scale

    def turn(AQ: Any, h: int) -> tuple[Any, Any]:
        A = AQ[: 2 * h]
        d = jnp.diagonal(A)
        off = jnp.diagonal(A[:h, h:])
        cos, sin = _angle(d[:h], d[h:], off)
        columns = _paired(_turned(AQ[:, :h], AQ[:, h:], cos[None, :], sin[None, :]))
        A = columns[: 2 * h].T
        A = _paired(_turned(A[:, :h], A[:, h:], cos[None, :], sin[None, :])).T
        return jnp.concatenate([A, columns[2 * h :]]), jnp.max(jnp.abs(off))

    pad = k % 2
    AQ = jnp.concatenate([jnp.pad(A, ((0, pad), (0, 0))), jnp.eye(k, dtype=A.dtype)])
    AQ = _swept(turn, AQ)
    values, Q = jnp.diagonal(AQ[:k, :k]), AQ[k + pad :, :k]
    # A sort, like LAPACK, would be a call; a value's place is how many come before it.
    i = jnp.arange(k)
    before = (values[:, None] < values[None, :]) | ((values[:, None] == values[None, :]) & (i[:, None] < i[None, :]))
    placed = (jnp.sum(before, axis=0)[:, None] == i[None, :]).astype(A.dtype)
    return scale * (values @ placed), Q @ placed


def _angle(aa: Any, bb: Any, ab: Any) -> tuple[Any, Any]:
    """Cosine and sine of the smaller angle that makes [aa ab; ab bb] diagonal (Golub & Van Loan, 2013, 8.5.2)."""
    long = jnp.abs(bb - aa) + jnp.sqrt((bb - aa) ** 2 + 4 * ab**2)
    t = jnp.where(bb < aa, -2, 2) * ab / or_one(long)
    cos = jax.lax.rsqrt(1 + t**2)
    return cos, t * cos


def _turned(a: Any, b: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
    return cos * a - sin * b, sin * a + cos * b


def _paired(halves: tuple[Any, Any]) -> Any:
    """The columns of two halves, those that meet next side by side: teams of a tournament (Brent & Luk, 1985)."""
    a, b = halves
    return jnp.hstack([a[:, :1], b[:, :1], a[:, 1:-1], b[:, 1:], a[:, -1:]] if a.shape[1] > 1 else [a, b])


def _swept(turn: Callable[[Any, int], tuple[Any, Any]], A: Any) -> Any:
    """A after sweeps of turns, in each of which every column meets every other and returns to its place.

    A turn gives how far from diagonal its pairs were, which is nothing but rounding after the last sweep. A column of
    zeros makes their number even: nothing turns it.
    """
    k = A.shape[1]
    h = (k + 1) // 2
    A = jnp.pad(A, ((0, 0), (0, 2 * h - k)))
    none = jnp.zeros((), A.dtype)

    def turned(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        A, slant = turn(state[0], h)
        return A, jnp.maximum(slant, state[1])

    def sweep(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        sweeps, A, _ = state
        return sweeps + 1, *jax.lax.fori_loop(0, 2 * h - 1, turned, (A, none))

    def slanted(state: tuple[Any, Any, Any]) -> Any:
        return (state[0] < SWEEPS) & (state[2] > k * eps(A))

    return jax.lax.while_loop(slanted, sweep, (jnp.int32(0), A, none + 1))[1][:, :k]


def _scale(A: Any) -> Any:
    """The power of two below the largest entry: divided by it, entries round alike and have fourth powers."""
    return jnp.ldexp(jnp.ones((), A.dtype), jnp.frexp(jnp.max(jnp.abs(A)))[1] - 1)
