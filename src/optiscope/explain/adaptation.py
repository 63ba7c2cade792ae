"""Adaptation: what a rule becomes under a gradient that stays.

For each constant gradient g the state settles in a fixed point h*_g; these lie on an S-shaped curve with an arm for
each sign. On an arm, the rate of a small gradient is the effective learning rate − ∂S/∂g at (h*_g, 0). Momentum's does
not depend on g; RMSProp's is lr / √(ρ g² + ε), and falls as |g|⁻¹ (Maheswaranathan et al., 2021, section 4.4).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .dynamics import Dynamics
from .fixed_points import LARGEST, SOLVED, solve
from .rest import Rest
from .visits import Visits

PER_ARM = 64
BEYOND = 10.0
"""How far beyond the gradients met the arms go, as a factor: a clip may show there."""
VARIES = 1.25
"""The ratio of rates from which they depend on the gradient, though the exponent be 0."""
SETTLING = 1000
"""Steps under a constant gradient before Newton's method takes over."""
SLOW = 1000.0
"""A record so many times below its fixed point after those steps is still growing: AdaDelta's size of the steps, which
starts near ε, takes millions."""


@dataclasses.dataclass(frozen=True, eq=False)
class Adaptation:
    """The S-curve and the rates along its two arms. Points that did not settle are left out."""

    grads: np.ndarray
    """The constant gradients, ascending, shape (n,)."""
    states: np.ndarray
    """h*_g, shape (n, d)."""
    residuals: np.ndarray
    """‖F(h) − h‖∞ / (1 + ‖h‖∞) at each, shape (n,)."""
    steps: np.ndarray
    """S(h*_g, g): the step that a gradient leads to in the end, shape (n,)."""
    rates: np.ndarray
    """− ∂S/∂g at (h*_g, 0), shape (n,)."""
    exponent: float
    """The slope of log rate against log |g| over the gradients met; 0 for momentum, −1 for RMSProp and Adam."""
    interval: tuple[float, float]
    """The least and the most over both arms and the halves of each."""
    extremes: tuple[float, float]
    """The least and the largest rate over the gradients met."""
    corner: float
    """The |g| from which the rate is more than a tenth away from that at the smallest; infinite where it never is."""
    left_out: int
    """How many points did not settle."""
    grows: tuple[str, ...]
    """What does not settle in any run but grows with every gradient, such as a sum of squares: it is read after the
    task's steps."""

    @property
    def present(self) -> bool:
        """Whether the rate falls as a power of the gradient's size, or goes up and down with it."""
        least, most = self.extremes
        return bool(abs(self.exponent) > 0.05 or most > VARIES * abs(least))


def adaptation(alone: Rest, h: np.ndarray, t: int, visits: Visits) -> Adaptation:
    """Find the fixed points under constant gradients over the range of those met, and the rates along the arms."""
    maps, steps = alone.maps, len(alone.states) - 1
    low, high = visits.quantiles(0.01, 0.99)
    low = max(low, 1e-9 * high)
    arm = np.geomspace(low, BEYOND * high, PER_ARM)
    grads = np.concatenate([-arm[::-1], arm])
    clocks, moving = alone.parts.clocks, ~alone.parts.clocks
    # A record may never shrink again: it must not begin with what other gradients left.
    states = np.tile(np.where(alone.parts.records, maps.initial, h), (len(grads), 1))
    after = states
    for k in range(max(SETTLING, steps)):
        before, states = states, np.where(clocks, states, maps.move(states, grads, t)[0])
        if k + 1 == steps:
            after = states
        if np.array_equal(before, states):
            after = after if k + 1 > steps else states
            break
    grown = moving & alone.parts.records & _grows(maps, states, grads, t)
    states = np.where(grown, after, states)
    if maps.size <= LARGEST:
        settled, residuals = solve(maps, states, moving & ~grown, grads, t)
        solved = residuals < SOLVED
        slow = alone.parts.records & moving & (np.abs(settled) > SLOW * np.abs(states))[solved].any(axis=0)
        if (slow & ~grown).any():
            grown |= slow
            settled, residuals = solve(maps, np.where(slow, after, states), moving & ~grown, grads, t)
        states = settled
    else:
        off = np.abs(maps.move(states, grads, t)[0] - states)[:, moving].max(axis=1, initial=0)
        residuals = off / (1 + np.abs(states[:, moving]).max(axis=1, initial=0))
    kept = residuals < SOLVED
    found, g = states[kept], grads[kept]
    rates = _rates(alone, found, t) if len(g) else np.zeros(0)
    usable = np.abs(g) <= 1.001 * high
    exponent, interval = _exponent(g[usable], rates[usable])
    extremes = (float(rates[usable].min()), float(rates[usable].max())) if usable.any() else (np.nan, np.nan)
    grows = tuple(n for n, grow in zip(maps.names, grown, strict=True) if grow)
    return Adaptation(
        g, found, residuals[kept], maps.move(found, g, t)[1] if len(g) else g, rates, exponent, interval,
        extremes, _corner(g, rates), int((~kept).sum()), grows,
    )  # fmt: skip


def _rates(alone: Rest, states: np.ndarray, t: int) -> np.ndarray:
    """The rate at g = 0; where a sign is read there is no derivative, and the difference over ± s stands for it."""
    if alone.probe and not alone.parts.records.any():
        up, down = (alone.maps.move(states, sign * alone.probe, t)[1] for sign in (1, -1))
        return -(up - down) / (2 * alone.probe)
    return -alone.maps.linear(states, 0.0, t).S_g


def _grows(maps: Dynamics, states: np.ndarray, grads: np.ndarray, t: int) -> np.ndarray:
    """Which numbers a step adds to whatever they are: ∂F/∂h has a row of the identity there, and F − h is not 0."""
    rows = maps.linear(states, grads, t).F_h
    unit = np.isclose(rows, np.eye(rows.shape[1]), rtol=0, atol=1e-9).all(axis=(0, 2))
    return unit & (maps.move(states, grads, t)[0] > states).any(axis=0)


def _exponent(grads: np.ndarray, rates: np.ndarray) -> tuple[float, tuple[float, float]]:
    usable = np.isfinite(rates) & (rates > 0)
    x, y = np.log(np.abs(grads[usable])), np.log(rates[usable])
    if len(x) < 8 or np.ptp(x) == 0:
        return np.nan, (np.nan, np.nan)
    arms, slopes = (grads[usable] > 0, grads[usable] < 0), []
    halves = (x < np.median(x), x >= np.median(x))
    for arm in arms:
        slopes += [_slope(x[part], y[part]) for part in (arm & halves[0], arm & halves[1]) if part.sum() >= 4]
    whole = [_slope(x[arm], y[arm]) for arm in arms if arm.sum() >= 4]
    return float(np.mean(whole)), (float(min(slopes + whole)), float(max(slopes + whole)))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    x = x - x.mean()
    return float(x @ y / (x @ x))


def _corner(grads: np.ndarray, rates: np.ndarray) -> float:
    order = np.argsort(np.abs(grads), kind="stable")
    sizes, rates = np.abs(grads[order]), rates[order]
    if not len(rates):
        return np.inf
    off = np.abs(rates - rates[0]) > 0.1 * abs(rates[0])
    return float(sizes[np.argmax(off)]) if off.any() else np.inf
