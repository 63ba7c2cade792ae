"""Minimisation along lines: x ← x + t p. What a method adds is the direction p and what it remembers for it."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .certify import certified
from .linesearch import FAIL, Search, StrongWolfe
from .smooth import Smooth, bottomless, tolerance
from .solution import CONVERGED, EDGE, ITERATIONS, NOT_FINITE, RUNNING, STALLED, UNBOUNDED
from .walk import Budget, Ended, Keep, Method, Walk, eps, first_of, fresh, packing

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
    """The largest norm of the gradient so far."""
    least: Any
    """The smallest."""
    idle: Any
    """How many steps running brought no progress that rounding does not blur."""
    anew: Any
    """Whether the next trial, which repeats x, is where steepest descent begins."""
    plain: Any
    """Whether p is steepest descent, and the memory counts as empty."""
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
        """The memory after a move; where `plain`, what it held before counts as forgotten."""

    @abstractmethod
    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        """p, from a memory that is not empty."""

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
            largest=jnp.zeros_like(nan),
            least=nan,
            idle=jnp.int32(0),
            anew=jnp.bool_(True),
            plain=jnp.bool_(True),
            outside=jnp.bool_(False),
        )

    def run(self, oracle: Any, budget: Budget, state: Any) -> Any:
        pack, unpack = packing(state)
        return unpack(
            jax.lax.while_loop(
                lambda s: unpack(s).walk.status == RUNNING,
                lambda s: pack(self.step(oracle, budget, unpack(s))),
                pack(state),
            )
        )

    def step(self, problem: Smooth, budget: Budget, w: State) -> State:
        x = problem.clipped(w.x + w.t * w.p)
        value, gradient = problem.value_and_grad(x)
        slope = jnp.vdot(gradient, w.p)
        walk = w.walk.called(1, function=1, gradient=1)
        there = walk._replace(iterations=walk.iterations + ~w.anew)
        # Not in the branch, to which XLA would hand each constant as an array. That largest leaves out the norm here
        # does not matter: where it is the largest itself it is within the tolerance only if it is 0.
        spent, limit = budget.spent(there), tolerance(budget.tol, w.largest)
        return jax.lax.cond(
            w.anew | self._search(problem).accepts(w.search, w.t, value, slope),
            lambda: self._arrived(problem, w._replace(walk=there), x, value, gradient, spent, limit),
            lambda: self._refused(problem, w._replace(walk=walk), value, slope),
        )

    def finish(self, problem: Smooth, w: State) -> Ended:
        norm = jnp.max(jnp.abs(problem.projected(w.x, w.gradient)))
        walk = certified(problem, w.walk, w.x, w.x0, w.value, w.gradient)
        return Ended(walk, w.x, w.value, w.gradient, norm)

    def _refused(self, problem: Smooth, w: State, value: Any, slope: Any) -> State:
        """The next trial; a direction along which nothing is found is given up for steepest descent, once."""
        search, t, verdict = self._search(problem).judge(w.search, w.t, value, slope)
        failed = verdict == FAIL
        outside = w.outside | ~(jnp.isfinite(value) & jnp.isfinite(slope))
        return w._replace(
            walk=w.walk._replace(status=first_of((failed & w.plain & outside, EDGE), (failed & w.plain, STALLED))),
            p=jnp.where(failed, 0, w.p),
            t=t,
            search=search,
            anew=failed,
            outside=outside,
        )

    def _arrived(self, problem: Smooth, w: State, x: Any, value: Any, gradient: Any, spent: Any, limit: Any) -> State:
        """The state at a new point, or again at the old one without the memory."""
        move = Move(w.p, x - w.x, gradient - w.gradient, gradient)
        memory = self.learn(w.memory, move, w.plain | w.anew)
        free = problem.free(x, gradient)
        # A direction that does not descend is a sign that the memory has lost its meaning.
        both = jnp.stack([self.direction(memory, gradient, free), jnp.where(free, -gradient, 0)])
        slopes = jnp.sum(both * gradient[None, :], axis=1)
        plain = w.anew | ~(slopes[0] < 0)
        p, slope = jnp.where(plain, both[1], both[0]), jnp.where(plain, slopes[1], slopes[0])
        far, near, norm = jnp.max(jnp.abs(jnp.stack([x, w.x0, problem.projected(x, gradient)])), axis=1)
        drop = w.value - value
        progress = jnp.isnan(w.first) | (drop > 10 * eps(x) * jnp.abs(value)) | (norm < w.least / 2)
        idle = jnp.where(progress, 0, w.idle + 1)
        first = jnp.where(jnp.isnan(w.first), value, w.first)
        walk = w.walk._replace(
            status=first_of(
                (~(jnp.isfinite(value) & jnp.isfinite(norm)), NOT_FINITE),
                (bottomless(value, first, far, near), UNBOUNDED),
                (norm <= limit, CONVERGED),
                (idle >= IDLE, STALLED),
                (spent, ITERATIONS),
            )
        )
        walk = walk.saw(True, x, value=value, gradient_norm=norm)
        ratio, curvature = drop / -jnp.vdot(w.gradient, move.s), jnp.vdot(move.s, move.y)
        walk = walk.saw(~w.anew, x, step=w.t, ratio=ratio, curvature=curvature)
        return State(
            walk=walk,
            x=x,
            x0=w.x0,
            value=value,
            gradient=gradient,
            p=p,
            t=self._first_t(p, slope, drop, plain),
            search=self._search(problem).begin(value, slope),
            memory=memory,
            first=first,
            largest=jnp.fmax(norm, w.largest),
            least=jnp.fmin(norm, w.least),
            idle=idle,
            anew=jnp.bool_(False),
            plain=plain,
            outside=jnp.bool_(False),
        )

    def _first_t(self, p: Any, slope: Any, drop: Any, plain: Any) -> Any:
        """The first trial along p: at the very start no farther than 1."""
        if self.unit_steps:
            return jnp.where(plain, jnp.minimum(1.0, jax.lax.rsqrt(jnp.abs(slope))), 1.0)
        short = jnp.minimum(1.0, 1 / jnp.linalg.norm(p))
        # As if this step were to lower the value as much as the last one did (Nocedal & Wright, 2006, equation 3.60).
        like_last = -2.02 * drop / slope
        return jnp.where((like_last > 0) & jnp.isfinite(like_last), like_last, short)
