"""Quasi-Newton methods: the inverse Hessian learned from the changes of the gradient."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput
from .descent import LineSearchMethod, Move
from .linesearch import Backtracking, Search
from .smooth import Smooth
from .walk import Ended, eps


@dataclasses.dataclass(frozen=True)
class BFGS(LineSearchMethod):
    """p = −H g, with the inverse Hessian updated by (Nocedal & Wright, 2006, equation 6.17; ρ = 1 / sᵀy)

        H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ

    from I, which the first step rescales by sᵀy / yᵀy (6.20). A step without positive curvature teaches nothing.
    """

    def forget(self, x: Any) -> Any:
        """Room for H; the first step begins it."""
        return jnp.zeros((x.size, x.size), x.dtype)

    def learn(self, memory: Any, move: Move, plain: Any) -> Any:
        s, y = move.s, move.y
        Hy = memory @ y
        # As products with a vector: XLA makes room for the parts of a sum at every call, which takes longer than it.
        (ss, sy), (yy, yHy) = jnp.stack([s, y]) @ s, jnp.stack([y, Hy]) @ y
        positive = sy > eps(s) * jnp.sqrt(ss) * jnp.sqrt(yy)
        rho = jnp.where(positive, 1 / sy, 0)
        gamma = jnp.where(positive, sy / yy, 1)
        Hy, yHy = jnp.where(plain, gamma * y, Hy), jnp.where(plain, gamma * yy, yHy)
        H = jax.lax.cond(plain, lambda: gamma * jnp.eye(s.size, dtype=s.dtype), lambda: memory)
        # The update is symmetric and of rank two.
        u, v = rho * s, Hy - (1 + rho * yHy) / 2 * s
        return H - jnp.outer(u, v) - jnp.outer(v, u)

    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        return -(memory @ g)

    def finish(self, problem: Smooth, w: Any) -> Ended:
        return super().finish(problem, w)._replace(inverse_hessian=w.memory)


class Pairs(NamedTuple):
    """The last steps and changes of the gradient, newest last: each (memory, n), zero where there is none yet."""

    S: Any
    Y: Any

    def inverse(self, g: Any) -> Any:
        """H g, with the inverse Hessian H that they tell of (Nocedal & Wright, 2006, algorithm 7.4)."""
        S, Y = self
        sy, yy = jnp.sum(S * Y, axis=1), jnp.sum(Y * Y, axis=1)
        rho = jnp.where(sy > 0, 1 / jnp.where(sy > 0, sy, 1), 0)
        newest = jnp.max(jnp.where(sy > 0, jnp.arange(len(S)), -1))
        gamma = jnp.where(newest >= 0, sy[newest] / jnp.where(newest >= 0, yy[newest], 1), 1)

        def back(q: Any, pair: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            s, y, r = pair
            alpha = r * jnp.vdot(s, q)
            return q - alpha * y, alpha

        def forth(q: Any, pair: tuple[Any, Any, Any, Any]) -> tuple[Any, None]:
            s, y, r, alpha = pair
            return q + (alpha - r * jnp.vdot(y, q)) * s, None

        q, alphas = jax.lax.scan(back, g, (S, Y, rho), reverse=True)
        return jax.lax.scan(forth, gamma * q, (S, Y, rho, alphas))[0]

    def longer(self, s: Any, y: Any) -> Pairs:
        """With another pair in the place of the oldest, if its curvature is positive and finite."""
        _, positive = _curvature(s, y)
        longer = Pairs(jnp.concatenate([self.S[1:], s[None]]), jnp.concatenate([self.Y[1:], y[None]]))
        return jax.tree.map(functools.partial(jnp.where, positive), longer, self)

    @classmethod
    def none(cls, memory: int, x: Any) -> Pairs:
        """Room for so many."""
        zeros = jnp.zeros((memory, x.size), x.dtype)
        return cls(zeros, zeros)


@dataclasses.dataclass(frozen=True)
class LBFGS(LineSearchMethod):
    """BFGS that remembers the last `memory` pairs (s, y) alone (Nocedal, 1980; Nocedal & Wright, 2006, algorithm 7.4).

    With bounds, the direction is that of the free variables, those that no bound holds, from the pairs' parts there;
    the trials follow its projection on the bounds, and the search is Armijo's along it (Bertsekas, 1982, SIAM J.
    Control Optim. 20).
    """

    memory: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 1:
            raise BadInput(f"memory of LBFGS must be a whole number ≥ 1, not {self.memory!r}")

    def _search(self, problem: Smooth) -> Search:
        return self.search if problem.lower is None else Backtracking()

    def forget(self, x: Any) -> Any:
        return Pairs.none(self.memory, x)

    def learn(self, memory: Any, move: Move, plain: Any) -> Any:
        return jax.tree.map(lambda pairs: jnp.where(plain, 0, pairs), memory).longer(move.s, move.y)

    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        return -jax.tree.map(lambda pairs: jnp.where(free[None, :], pairs, 0), memory).inverse(jnp.where(free, g, 0))


def _curvature(s: Any, y: Any) -> tuple[Any, Any]:
    """sᵀy, and whether it is positive beyond rounding."""
    sy = jnp.vdot(s, y)
    return sy, sy > eps(s) * jnp.linalg.norm(s) * jnp.linalg.norm(y)
