"""Minimisation along lines: x ← x + t p. What a method adds is the direction p and what it remembers for it."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .certify import certified
from .linesearch import ACCEPT, FAIL, Search, StrongWolfe
from .smooth import Smooth, bottomless, tolerance
from .solution import CONVERGED, EDGE, ITERATIONS, NOT_FINITE, STALLED, UNBOUNDED
from .walk import Budget, Ended, Keep, Method, Walk, eps, first_of, fresh

IDLE = 5
"""Steps without progress after which rounding is taken to have hidden the rest."""


class Move(NamedTuple):
    """The step just taken: along p₋, by s, with y the change of the gradient, to where it is g."""

    p: Any
    s: Any
    y: Any
    g: Any


class State(NamedTuple):
    walk: Walk
    x: Any
    x0: Any
    value: Any
    gradient: Any
    p: Any
    t: Any
    search: Any
    memory: Any
    first: Any
    """The value at the start."""
    largest: Any
    """The largest gradient's norm so far."""
    least: Any
    """The smallest gradient's norm so far."""
    idle: Any
    """How many steps running brought no progress that rounding does not blur."""
    plain: Any
    """Whether the memory is empty, so that p is steepest descent."""
    outside: Any
    """Whether this search has met a value that is not finite."""


@dataclasses.dataclass(frozen=True)
class LineSearchMethod(Method):
    """The step that the methods share."""

    search: Search = dataclasses.field(default=StrongWolfe(), kw_only=True)

    @abstractmethod
    def forget(self, x: Any) -> Any:
        """An empty memory."""

    @abstractmethod
    def learn(self, memory: Any, move: Move, plain: Any) -> Any:
        """The memory after a move; `plain` says that it was empty before."""

    @abstractmethod
    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        """p; steepest descent for an empty memory."""

    unit_steps = True
    """Whether t = 1 is the natural step once the memory is not empty."""

    def _search(self, problem: Smooth) -> Search:
        return self.search

    def begin(self, problem: Smooth, x: Any, keep: Keep | None) -> State:
        nan = jnp.full((), jnp.nan, x.dtype)
        zero = jnp.zeros_like(x)
        return State(
            walk=fresh(x, keep),
            x=x,
            x0=x,
            value=nan,
            gradient=zero,
            p=zero,
            t=jnp.ones_like(nan),
            search=self._search(problem).begin(nan, nan),
            memory=self.forget(x),
            first=nan,
            largest=jnp.zeros((), x.dtype),
            least=nan,
            idle=jnp.int32(0),
            plain=jnp.bool_(True),
            outside=jnp.bool_(False),
        )

    def step(self, problem: Smooth, budget: Budget, w: State) -> State:
        x = problem.clipped(w.x + w.t * w.p)
        value, gradient = problem.value_and_grad(x)
        starting = w.walk.evaluations.function == 0
        slope = jnp.vdot(gradient, w.p)
        search, t, verdict = self._search(problem).judge(w.search, w.t, value, slope)
        accept = starting | (verdict == ACCEPT)
        # A direction along which nothing is found is given up for steepest descent, once.
        retry = ~accept & (verdict == FAIL) & ~w.plain
        w = w._replace(
            walk=w.walk.called(1, function=1, gradient=1),
            outside=w.outside | ~(jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))),
        )
        moved = (accept, starting, x, value, gradient)
        w_next = jax.lax.cond(
            accept | retry,
            lambda w: self._arrived(problem, budget, moved, w),
            lambda w: w._replace(search=search, t=t),
            w,
        )
        failed = (verdict == FAIL) & ~accept & ~retry
        why = jnp.where(w.outside, EDGE, STALLED)
        return w_next._replace(walk=w_next.walk._replace(status=jnp.where(failed, why, w_next.walk.status)))

    def finish(self, problem: Smooth, w: State) -> Ended:
        norm = jnp.max(jnp.abs(problem.projected(w.x, w.gradient)))
        walk = certified(problem, w.walk, w.x, w.x0, w.value, w.gradient)
        return Ended(walk, w.x, w.value, w.gradient, norm)

    def _arrived(self, problem: Smooth, budget: Budget, moved: tuple[Any, ...], w: State) -> State:
        """The state at a new point, or at the old one with the memory gone."""
        accept, starting, x, value, gradient = moved
        x, value, gradient = (
            jnp.where(accept, new, old) for new, old in ((x, w.x), (value, w.value), (gradient, w.gradient))
        )
        s, y = x - w.x, gradient - w.gradient
        plain = starting | ~accept
        memory = _where(plain, self.forget(x), self.learn(w.memory, Move(w.p, s, y, gradient), w.plain))
        free = problem.free(x, gradient)
        p = self.direction(memory, gradient, free)
        slope = jnp.vdot(gradient, p)
        # A direction that does not descend is a sign that the memory has lost its meaning.
        bad = ~(slope < 0)
        memory, plain = _where(bad, self.forget(x), memory), plain | bad
        p = jnp.where(bad, jnp.where(free, -gradient, 0), p)
        slope = jnp.vdot(gradient, p)
        norm = jnp.max(jnp.abs(problem.projected(x, gradient)))
        first, largest = jnp.where(starting, value, w.first), jnp.maximum(norm, w.largest)
        drop = w.value - value
        progress = starting | (drop > 10 * eps(x) * jnp.abs(value)) | (norm < w.least / 2)
        idle = jnp.where(progress, 0, w.idle + 1)
        walk = w.walk._replace(iterations=w.walk.iterations + jnp.where(accept & ~starting, 1, 0))
        walk = walk._replace(
            status=first_of(
                (~(jnp.isfinite(value) & jnp.isfinite(norm)), NOT_FINITE),
                (bottomless(value, first, x, w.x0), UNBOUNDED),
                (norm <= tolerance(budget.tol, largest), CONVERGED),
                (idle >= IDLE, STALLED),
                (budget.spent(walk), ITERATIONS),
            )
        )
        walk = walk.saw(accept, x, value=value, gradient_norm=norm)
        walk = walk.saw(
            accept & ~starting, x, step=w.t, ratio=drop / -jnp.vdot(w.gradient, s), curvature=jnp.vdot(s, y)
        )
        return State(
            walk=walk,
            x=x,
            x0=w.x0,
            value=value,
            gradient=gradient,
            p=p,
            t=self._first_t(w, p, slope, drop, plain, starting),
            search=self._search(problem).begin(value, slope),
            memory=memory,
            first=first,
            largest=largest,
            least=jnp.where(starting, norm, jnp.minimum(norm, w.least)),
            idle=idle,
            plain=plain,
            outside=jnp.bool_(False),
        )

    def _first_t(self, w: State, p: Any, slope: Any, drop: Any, plain: Any, starting: Any) -> Any:
        """The first trial along p: at the very start no farther than 1."""
        short = jnp.minimum(1.0, 1 / jnp.linalg.norm(p))
        if self.unit_steps:
            return jnp.where(plain, short, 1.0)
        # As if this step were to lower the value as much as the last one did (Nocedal & Wright, 2006, equation 3.60).
        like_last = -2.02 * drop / slope
        return jnp.where(~starting & (like_last > 0) & jnp.isfinite(like_last), like_last, short)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
