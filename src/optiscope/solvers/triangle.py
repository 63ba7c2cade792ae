"""Orthogonal triangles: J = Q R by Householder's reflections, and what is solved with R.

Few columns are reflected by array operations, which become part of the loop around them; LAPACK's routines are calls
out of the loop, which keep XLA from making one kernel of it (`xla.py`), and pay from FEW columns on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .walk import or_one

FEW = 20


def triangle(A: Any, b: Any) -> tuple[Any, Any]:
    """R (k, n), upper triangular, and c = Qᵀb (k,) in A = Q R, for A (m, n) and k = min(m, n)
    (Golub & Van Loan, 2013, algorithm 5.2.1)."""
    (m, n), k = A.shape, min(A.shape)
    joined = jnp.concatenate([A, b[:, None]], axis=1)
    if n > FEW:
        joined = jnp.linalg.qr(joined, mode="r")
    else:
        joined = jax.lax.fori_loop(0, k, lambda s, A: _reflected(A, s, s, jnp.arange(m) >= s), joined)
    return jnp.triu(joined[:k, :n]), joined[:k, n]


class Pivoted(NamedTuple):
    """A = Q R with the longest of the remaining columns reflected at every step, of which the lengths tell the rank
    (Golub & Van Loan, 2013, algorithm 5.4.1), for A (m, n) and k = min(m, n)."""

    R: Any
    """(k, n), triangular up to the order of its columns, which keep their places."""
    c: Any
    """Qᵀb (k,)"""
    order: Any
    """The columns reflected, (k,)."""
    lengths: Any
    """What their lengths were, (k,)."""


def pivoted(A: Any, b: Any) -> Pivoted:
    """The factors of A, and b turned alike."""
    n = A.shape[1]
    if A.shape[0] > 2 * n:
        A, b = triangle(A, b)
    m, k = A.shape[0], min(A.shape)

    def reflect(s: Any, state: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        A, left, order, lengths = state
        below = jnp.arange(m) >= s
        squares = jnp.where(left, jnp.sum(jnp.where(below[:, None], A**2, 0), axis=0), -1)
        p = jnp.argmax(squares).astype(jnp.int32)
        here = jnp.arange(k) == s
        order, lengths = jnp.where(here, p, order), jnp.where(here, jnp.sqrt(squares[p]), lengths)
        return _reflected(A, s, p, below), left & (jnp.arange(n + 1) != p), order, lengths

    joined, left = jnp.concatenate([A, b[:, None]], axis=1), jnp.arange(n + 1) < n
    begin = joined, left, jnp.zeros(k, jnp.int32), jnp.zeros(k, A.dtype)
    joined, _, order, lengths = jax.lax.fori_loop(0, k, reflect, begin)
    return Pivoted(joined[:k, :n], joined[:k, n], order, lengths)


def pseudoinverse(R: Any, order: Any, known: Any) -> Any:
    """R⁺ (n, k) of the R that `pivoted` gave, whose rows that are not `known` are zero."""
    k, n = R.shape

    def whole() -> Any:
        def substitute(s: Any, X: Any) -> Any:
            i = n - 1 - s
            p = order[i]
            row = ((jnp.arange(n) == i) - R[i] @ X) / R[i, p]
            return jnp.where((jnp.arange(n) == p)[:, None], row[None, :], X)

        return jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(R))

    def part() -> Any:
        # R⁺ = Rᵀ (R Rᵀ)⁻¹, which keeps the digits (Demmel & Higham, 1993, SIAM J. Matrix Anal. Appl. 14). A row that is
        # zero counts as a unit vector.
        A = jnp.concatenate([R.T, jnp.diag((~known).astype(R.dtype))])
        T, _ = triangle(A, jnp.zeros(len(A), R.dtype))
        return jax.vmap(lambda r: solved(T, solved_transposed(T, r)), in_axes=1)(R)

    return part() if k < n else jax.lax.cond(jnp.all(known), whole, part)


def _reflected(A: Any, row: Any, column: Any, below: Any) -> Any:
    """A with the column turned upon the row, its entries `below` alone."""
    v = jnp.where(below, jax.lax.dynamic_slice_in_dim(A, column, 1, axis=1)[:, 0], 0)
    head, size = v[row], jnp.sqrt(jnp.vdot(v, v))
    v = v + jnp.where(jnp.arange(len(A)) == row, jnp.where(head < 0, -size, size), 0)
    return A - v[:, None] * ((v @ A) / or_one(size * (size + jnp.abs(head))))[None, :]


def solved(R: Any, c: Any) -> Any:
    """x in R x = c, for R upper triangular (n, n)."""
    n = len(c)

    def substitute(k: Any, x: Any) -> Any:
        i = n - 1 - k
        return jnp.where(jnp.arange(n) == i, (c[i] - jnp.vdot(R[i], x)) / R[i, i], x)

    return jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(c))


def solved_transposed(R: Any, c: Any) -> Any:
    """x in Rᵀx = c, for R upper triangular (n, n)."""

    def substitute(i: Any, x: Any) -> Any:
        column = jax.lax.dynamic_slice_in_dim(R, i, 1, axis=1)[:, 0]
        return jnp.where(jnp.arange(len(c)) == i, (c[i] - jnp.vdot(column, x)) / R[i, i], x)

    return jax.lax.fori_loop(0, len(c), substitute, jnp.zeros_like(c))
