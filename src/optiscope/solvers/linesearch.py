"""Line searches on φ(t) = f(x + t p), each a state and a rule for the next trial.

    search.begin(f₀, φ′(0))                 → state
    search.accepts(state, t, φ(t), φ′(t))   → whether the search ends here
    search.judge(state, t, φ(t), φ′(t))     → state, next t, verdict

A search ends with ACCEPT, at the t it was just shown, or with FAIL, when no acceptable t can be found.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import jax.numpy as jnp

from .walk import eps

SEARCH, ACCEPT, FAIL = range(3)
TRIES = 40
"""More trials than a search needs: 40 halvings, or growth to 10⁴⁰ times the first step."""


class Search(ABC):
    """A line search: a frozen dataclass of its constants."""

    @abstractmethod
    def begin(self, value: Any, slope: Any) -> Any:
        """The state before the first trial, where φ(0) = value and φ′(0) = slope < 0."""

    @abstractmethod
    def accepts(self, state: Any, t: Any, value: Any, slope: Any) -> Any:
        """Whether a trial at t is good enough: `judge` says so too, but most trials are and need no next one."""

    @abstractmethod
    def judge(self, state: Any, t: Any, value: Any, slope: Any) -> tuple[Any, Any, Any]:
        """What a trial at t tells: the state, the next trial, the verdict. A value that is not finite is too high."""


class Point(NamedTuple):
    """(t, φ(t), φ′(t))"""

    t: Any
    value: Any
    slope: Any

    def where(self, condition: Any, other: Point) -> Point:
        """This point where the condition holds, the other one where it does not."""
        return Point(*(jnp.where(condition, a, b) for a, b in zip(self, other, strict=True)))


class Descent(NamedTuple):
    start: Any
    tries: Any


@dataclasses.dataclass(frozen=True)
class Backtracking(Search):
    """Armijo's condition φ(t) ≤ φ(0) + c₁ t φ′(0); a refused t shrinks to the minimum of the parabola through φ(0),
    φ′(0) and φ(t), but to no less than a tenth and no more than a half (Nocedal & Wright, 2006, section 3.5).
    """

    c1: float = 1e-4

    def begin(self, value: Any, slope: Any) -> Descent:
        return Descent(Point(jnp.zeros_like(value), value, slope), jnp.int32(0))

    def accepts(self, state: Descent, t: Any, value: Any, slope: Any) -> Any:
        return value <= state.start.value + self.c1 * t * state.start.slope

    def judge(self, state: Descent, t: Any, value: Any, slope: Any) -> tuple[Descent, Any, Any]:
        start = state.start
        parabola = -start.slope * t**2 / (2 * (value - start.value - t * start.slope))
        shorter = jnp.where(jnp.isfinite(parabola), jnp.clip(parabola, 0.1 * t, 0.5 * t), 0.1 * t)
        good = self.accepts(state, t, value, slope)
        # Where even the foreseen change is lost in rounding no shorter step can be judged.
        lost = state.tries >= TRIES
        verdict = jnp.where(good, ACCEPT, jnp.where(lost, FAIL, SEARCH))
        return state._replace(tries=state.tries + 1), shorter, verdict


class Bracket(NamedTuple):
    """low holds the best point so far; an acceptable one lies between it and high, which is infinite at first."""

    start: Any
    low: Any
    high: Any
    tries: Any
    """The trials so far; more than TRIES say that the next one is taken as it is."""


@dataclasses.dataclass(frozen=True)
class StrongWolfe(Search):
    """φ(t) ≤ φ(0) + c₁ t φ′(0) and |φ′(t)| ≤ c₂ |φ′(0)| (Nocedal & Wright, 2006, algorithms 3.5 and 3.6, in one).

    Where φ(t) and φ(0) cannot be told apart for rounding, Armijo's condition is replaced by its derivative form
    φ′(t) ≤ (2c₁ − 1) φ′(0) (Hager & Zhang, 2005, equation 4.1): the gradient can then be brought down to its own
    rounding, where comparing values would stop at the square root of that.
    """

    c1: float = 1e-4
    c2: float = 0.9

    def begin(self, value: Any, slope: Any) -> Bracket:
        zero = jnp.zeros_like(value)
        start = Point(zero, value, slope)
        return Bracket(start, start, Point(zero + jnp.inf, value, slope), jnp.int32(0))

    def accepts(self, state: Bracket, t: Any, value: Any, slope: Any) -> Any:
        steep = jnp.abs(slope) > -self.c2 * state.start.slope
        return (~self._too_high(state, Point(t, value, slope)) & ~steep) | (state.tries > TRIES)

    def judge(self, state: Bracket, t: Any, value: Any, slope: Any) -> tuple[Bracket, Any, Any]:
        before, here = state.low, Point(t, value, slope)
        too_high = self._too_high(state, here)
        # From a point that is low enough the minimum lies downhill, which is either towards high or back towards low.
        turned = slope * jnp.sign(state.high.t - before.t) >= 0
        high = here.where(too_high, before.where(turned, state.high))
        low = before.where(too_high, here)
        bracketed = jnp.isfinite(high.t)
        width = jnp.abs(high.t - low.t)
        lost = (state.tries >= TRIES) | (bracketed & (width <= eps(value) * jnp.maximum(low.t, high.t)))
        # The last resort is the best point found: lower than the start, though steeper than asked.
        rescue = lost & (low.t > 0)
        good = self.accepts(state, t, value, slope)
        verdict = jnp.where(good, ACCEPT, jnp.where(lost & ~rescue, FAIL, SEARCH))
        further = _extrapolated(before, here)
        within = _cubic(low, high, self._noise(state, t))
        following = jnp.where(rescue, low.t, jnp.where(bracketed, within, further))
        return Bracket(state.start, low, high, jnp.where(rescue, TRIES, state.tries) + 1), following, verdict

    def _noise(self, state: Bracket, t: Any) -> Any:
        """The difference of values that counts as none."""
        _, value, slope = state.start
        # A function that cancels inside is noisier than its value tells; a promise that small is left to the slopes.
        blur = eps(value) ** 0.75 * jnp.abs(value)
        return jnp.where(-t * slope <= blur, blur, 10 * eps(value) * jnp.abs(value))

    def _too_high(self, state: Bracket, here: Point) -> Any:
        """Whether the minimum lies before the point."""
        start, (t, value, slope), noise = state.start, here, self._noise(state, here.t)
        finite = jnp.isfinite(value) & jnp.isfinite(slope)
        armijo = value <= start.value + self.c1 * t * start.slope
        armijo |= (jnp.abs(value - start.value) <= noise) & (slope <= (2 * self.c1 - 1) * start.slope)
        return ~finite | ~armijo | (value > state.low.value + noise)


def _extrapolated(before: Point, here: Point) -> Any:
    """Where the secant of the slopes would vanish, at least 2 and at most 10 times as far."""
    secant = here.t - here.slope * (here.t - before.t) / (here.slope - before.slope)
    return jnp.where(here.slope > before.slope, jnp.clip(secant, 2 * here.t, 10 * here.t), 10 * here.t)


def _cubic(a: Point, b: Point, noise: Any) -> Any:
    """The minimum of the cubic through two points and their slopes (Nocedal & Wright, 2006, equation 3.59), kept a
    tenth of the interval away from its ends. Where the values differ by noise the slopes alone decide, and where b is
    not finite the middle.
    """
    width = b.t - a.t
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    d2 = jnp.sign(width) * jnp.sqrt(jnp.maximum(d1**2 - a.slope * b.slope, 0))
    cubic = b.t - width * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)
    secant = a.t - a.slope * width / (b.slope - a.slope)
    t = jnp.where(jnp.abs(a.value - b.value) <= noise, secant, cubic)
    ends = a.t + 0.1 * width, a.t + 0.9 * width
    t = jnp.clip(t, jnp.minimum(*ends), jnp.maximum(*ends))
    return jnp.where(jnp.isfinite(t), t, a.t + 0.5 * width)


class Interval(NamedTuple):
    start: Any
    a: Any
    b: Any
    """φ′(a) < 0 and φ(a) ≤ φ(0) + ε; φ′(b) ≥ 0, or else b is `high` and φ(b) > φ(0) + ε."""
    high: Any
    width: Any
    """b − a when this round of secants began."""
    other: Any
    """The t of the second secant of the round, NaN when there is none left."""
    tries: Any
    final: Any


@dataclasses.dataclass(frozen=True)
class HagerZhang(Search):
    """The search of CG_DESCENT (Hager & Zhang, 2006, algorithm 851, sections 2 and 4): secant² with bisection, until
    the Wolfe conditions hold or, within ε of φ(0), their approximate form (2δ − 1) φ′(0) ≥ φ′(t) ≥ σ φ′(0).
    """

    delta: float = 0.1
    sigma: float = 0.9
    gamma: float = 0.66
    rho: float = 5.0

    def begin(self, value: Any, slope: Any) -> Interval:
        zero = jnp.zeros_like(value)
        start, end = Point(zero, value, slope), Point(zero + jnp.inf, zero, zero)
        no = jnp.bool_(False)
        return Interval(start, start, end, no, zero + jnp.inf, zero + jnp.nan, jnp.int32(0), no)

    def accepts(self, state: Interval, t: Any, value: Any, slope: Any) -> Any:
        start, flat = state.start, slope >= self.sigma * state.start.slope
        finite = jnp.isfinite(value) & jnp.isfinite(slope)
        wolfe = value - start.value <= self.delta * t * start.slope
        nearly = (value <= _limit(start)) & (slope <= (2 * self.delta - 1) * start.slope)
        return (finite & flat & (wolfe | nearly)) | state.final

    def judge(self, state: Interval, t: Any, value: Any, slope: Any) -> tuple[Interval, Any, Any]:
        start, c = state.start, Point(t, value, slope)
        limit, finite = _limit(start), jnp.isfinite(value) & jnp.isfinite(slope)
        # Update (U0–U3): c replaces the end on whose side it is. The bisections of U3 are trials like all others.
        high = ~finite | ((slope < 0) & (value > limit))
        left = ~high & (slope < 0)
        a_new, b_new = c.where(left, state.a), state.b.where(left, c)
        b_is_high = jnp.where(left, state.high, high)
        width = b_new.t - a_new.t
        # S2, S3: after the first secant of a round, the second is drawn through the end that c replaced and c.
        first = jnp.isnan(state.other) & ~state.high
        partner = state.a.where(left, state.b)
        second = jnp.where(first & ~b_is_high & jnp.isfinite(state.width), _secant(partner, c), jnp.nan)
        second = jnp.where((second > a_new.t) & (second < b_new.t), second, jnp.nan)
        # L2, L3: a round that did not shrink the interval by γ is followed by a bisection.
        slow = width > self.gamma * state.width
        fresh = _secant(a_new, b_new)
        fresh = jnp.where((fresh > a_new.t) & (fresh < b_new.t) & ~slow, fresh, (a_new.t + b_new.t) / 2)
        bracketed = jnp.isfinite(b_new.t)
        going_on = ~jnp.isnan(second)
        t_next = jnp.where(b_is_high, (a_new.t + b_new.t) / 2, jnp.where(going_on, second, fresh))
        t_next = jnp.where(bracketed, t_next, self.rho * t)
        lost = (state.tries >= TRIES) | (bracketed & (width <= eps(value) * b_new.t))
        rescue = lost & (a_new.t > 0) & (a_new.value < start.value) & ~state.final
        good = self.accepts(state, t, value, slope)
        verdict = jnp.where(good, ACCEPT, jnp.where(lost & ~rescue, FAIL, SEARCH))
        width = jnp.where(going_on | b_is_high, state.width, width)
        state = Interval(state.start, a_new, b_new, b_is_high, width, second, state.tries + 1, rescue)
        return state, jnp.where(rescue, a_new.t, t_next), verdict


def _limit(start: Point) -> Any:
    """φ(0) + ε"""
    return start.value + 10 * eps(start.value) * jnp.abs(start.value)


def _secant(a: Point, b: Point) -> Any:
    return (a.t * b.slope - b.t * a.slope) / (b.slope - a.slope)
