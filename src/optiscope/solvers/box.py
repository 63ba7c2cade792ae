"""Damped linear least squares in a box, the step of a method with bounds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .triangle import solved, triangle
from .walk import eps, or_one


def boxed(R: Any, c: Any, lam: Any, free: Any, low: Any, high: Any) -> Any:
    """The z that minimises ‖R z + c‖² + λ ‖z‖² over low ≤ z ≤ high, where low ≤ 0 ≤ high.

    An active-set method (Stark & Parker, 1995, Computational Statistics 10; Björck, 1996, section 5.2.3), from 0 with
    all variables held but those that are `free`: towards the minimiser over the free variables up to the first bound,
    which then holds; at that minimiser the bound that would let go most is let go. Every step lowers the value, so
    that where it is stopped it has something to show.

    Args:
        R: (k, n), with columns of lengths at most about 1.
        c: (k,).
    """
    n = low.size
    # Any subset of the columns may lack rank.
    root = jnp.maximum(jnp.sqrt(lam), 10 * n * eps(R))

    def target(z: Any, free: Any) -> Any:
        """From z to the minimiser over the free variables."""
        A = jnp.concatenate([jnp.where(free[None, :], R, 0), jnp.diag(jnp.where(free, root, 1))])
        T, b = triangle(A, jnp.concatenate([R @ z + c, jnp.where(free, root * z, 0)]))
        return -solved(T, b)

    def going(state: tuple) -> Any:
        k, _, _, _, done = state
        return ~done & (k < 10 * n)

    def step(state: tuple) -> tuple:
        k, z, free, let_go, _ = state
        d = target(z, free)
        room = jnp.where(d > 0, high - z, low - z) / or_one(d)
        room = jnp.where(d == 0, jnp.inf, room)
        t = jnp.minimum(jnp.min(room), 1)
        stops = free & (room <= t) & (room < 1)
        z = jnp.where(stops, jnp.where(d > 0, high, low), jnp.clip(z + t * d, low, high))
        slope = (R @ z + c) @ R + root**2 * z
        inward = jnp.where(free | (low == high), 0, jnp.where(z <= low, -slope, jnp.where(z >= high, slope, 0)))
        noise = 10 * n * eps(R) * jnp.linalg.norm(c)
        best = jnp.argmax(inward)
        arrived = ~jnp.any(stops)
        more = arrived & (inward[best] > noise)
        # A bound that lets go and holds again at once does so for rounding.
        stuck = let_go & (t == 0)
        free = jnp.where(arrived, free | (more & (jnp.arange(n) == best)), free & ~stops)
        return k + 1, z, free, more, stuck | (arrived & ~more)

    begin = jnp.int32(0), jnp.zeros_like(low), free, jnp.bool_(False), jnp.bool_(False)
    return jax.lax.while_loop(going, step, begin)[1]
