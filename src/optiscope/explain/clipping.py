"""Clipping, read off the update function g ↦ S(h, g): where it is straight, and where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from .dynamics import Dynamics
from .rest import Rest, rest
from .visits import Visits

BENT = 0.1
"""The deviation from the straight line, as a share of it, at which the linear range ends."""
GRID = 200


@dataclasses.dataclass(frozen=True, eq=False)
class UpdateFunction:
    """The step as a function of the gradient, from one state."""

    label: str
    """Which state: "h₀", "h*", or so far along a mode."""
    grads: np.ndarray
    """Shape (n,), ascending, symmetric about 0."""
    steps: np.ndarray
    """S(h, g), shape (n,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clipping:
    """What the update function at rest says about large gradients. Its two sides are (g < 0, g > 0)."""

    kind: str
    """"hard", "soft", "sign", "none", or "normalised": saturation at a multiple of the recorded size, which is
    adaptation."""
    slope: float
    """The effective learning rate, − ∂S/∂g at 0."""
    levels: tuple[float, float]
    """The longest step on each side, |S(h, ∓∞) − S(h, 0)|."""
    limits: tuple[float, float]
    """The gradient that a straight line would need for that step, level / slope: where a clip clips."""
    linear: tuple[float, float]
    """How far the function is straight, to within a tenth."""
    beyond: float
    """The share of the gradients really met that lie beyond the linear range."""
    interval: tuple[float, float]
    """Of that share, 95 %, over the seeds."""
    functions: tuple[UpdateFunction, ...]

    @property
    def present(self) -> bool:
        return self.kind in ("hard", "soft")

    @property
    def limit(self) -> float:
        """The mean of both sides' limits."""
        return float(np.mean(self.limits))

    @property
    def asymmetry(self) -> float:
        """(right − left) / (right + left) of the levels: 0 for an odd function."""
        left, right = self.levels
        return float((right - left) / (right + left)) if left + right > 0 else 0.0


def clipping(
    alone: Rest, h: np.ndarray, t: int, visits: Visits, labelled: dict[str, tuple[np.ndarray, int]]
) -> Clipping:
    """The update function at a state `h` before step t, and at others for the picture.

    Args:
        labelled: the states to draw, each with its step.
    """
    maps = alone.maps
    slope = -float(alone.linear(h, t).S_g[0])
    widest = 100 * float(max(visits.quantiles(0.999)[0], alone.size))
    sides = [_side(maps, h, t, sign, slope, alone.size, widest) for sign in (-1.0, 1.0)]
    levels, limits, linear, kinds = (tuple(x) for x in zip(*sides, strict=True))
    kind = kinds[0] if kinds[0] == kinds[1] else "soft" if "none" not in kinds else "none"
    if kind == "soft" and alone.parts.records.any() and _moves_with_size(alone, t, limits):
        kind = "normalised"
    beyond, interval = _beyond(visits.grads, linear)
    span = visits.quantiles(0.99)[0] if kind == "none" else max(visits.quantiles(0.99)[0], 3 * min(limits, default=0))
    grid = span * np.linspace(-1, 1, 2 * GRID + 1)
    drawn = [UpdateFunction(label, grid, maps.move(state, grid, at)[1]) for label, (state, at) in labelled.items()]
    return Clipping(kind, slope, levels, limits, linear, beyond, interval, tuple(drawn))


def _side(
    maps: Dynamics, h: np.ndarray, t: int, sign: float, slope: float, size: float, widest: float
) -> tuple[float, float, float, str]:
    """The level, the limit, the linear range and the kind of one side."""
    at_zero = float(maps.move(h, 0.0, t)[1][0])

    def step(g: np.ndarray) -> np.ndarray:
        return -sign * (maps.move(h, sign * g, t)[1] - at_zero)

    grid = np.geomspace(1e-6 * size, 1e3 * widest, 10 * GRID)
    steps = step(grid)
    level, far = float(np.abs(steps).max()), steps[grid <= widest]
    straight = slope * grid
    bent = np.abs(steps - straight) > BENT * np.abs(straight)
    reach = float(grid[np.argmax(bent)]) if bent.any() else np.inf
    if level == 0 or not np.isfinite(steps).all():
        return level, np.inf, reach, "none"
    first = len(grid) - int(np.argmin(np.append(steps[::-1] == steps[-1], False)))
    if first == 0:
        return level, 0.0, 0.0, "sign"
    # Flat to the last bit, and steep just before: a clip.
    drop = abs(steps[first - 1] - steps[-1]) / level
    if len(grid) - first >= 10 and drop > 1e-3 * (grid[first] / grid[first - 1] - 1):
        return level, _corner(step, grid[first - 1], grid[first]), reach, "hard"
    limit = level / abs(slope) if slope else 0.0
    # Saturated: ten times the gradient adds less than a tenth to the step.
    still_growing = abs(far[-1]) > 1.1 * abs(float(np.interp(widest / 10, grid, steps)))
    return level, limit, reach, "none" if still_growing or not bent.any() else "soft"


def _corner(step: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """Where a function becomes flat, by bisection between a gradient before and one after."""
    end = step(np.array([high]))[0]
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if step(np.array([middle]))[0] == end else (middle, high)
    return high


def _moves_with_size(alone: Rest, t: int, limits: tuple[float, float]) -> bool:
    """Whether a tenth of the recorded size makes about a tenth of the limit: normalisation, not a clip."""
    smaller = rest(alone.maps, alone.parts, alone.size / 10, t)
    h, widest = smaller.states[-2], 100 * alone.size
    slope = -float(smaller.linear(h, t).S_g[0])
    tenth = [_side(alone.maps, h, t, sign, slope, alone.size / 10, widest)[1] for sign in (-1.0, 1.0)]
    return bool(np.mean(tenth) < np.mean(limits) / 10**0.5)


def _beyond(grads: np.ndarray, linear: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    met = np.isfinite(grads) & (grads != 0)
    out = met & ((grads < -linear[0]) | (grads > linear[1]))
    outs, mets = out.sum(axis=(1, 2)), met.sum(axis=(1, 2))
    if not mets.sum():
        return 0.0, (0.0, 0.0)
    draws = np.random.default_rng(0).integers(len(outs), size=(2000, len(outs)))
    shares = outs[draws].sum(axis=1) / np.maximum(mets[draws].sum(axis=1), 1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(outs.sum() / mets.sum()), (float(low), float(high))
