"""Clipping, read off the update function g ↦ S(h, g): where it is straight, and where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from .adaptation import Adaptation
from .rest import Rest
from .visits import Visits

BENT = 0.1
"""The deviation from the straight line, as a share of it, at which the linear range ends."""
GRID = 200
FLAT = 1e-14
"""Steps that differ by no larger a share are equal but for rounding."""


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
    alone: Rest,
    h: np.ndarray,
    t: int,
    visits: Visits,
    curve: Adaptation,
    labelled: dict[str, tuple[np.ndarray, int]],
) -> Clipping:
    """The update function at a state `h` before step t, and at others for the picture.

    Args:
        curve: the fixed points under constant gradients.
        labelled: the states to draw, each with its step.
    """
    maps = alone.maps
    slope = -float(alone.linear(h, t).S_g[0])
    widest = 100 * float(max(visits.quantiles(0.999)[0], alone.size))
    sides = [_side(alone, h, t, sign, slope, widest) for sign in (-1.0, 1.0)]
    levels, limits, linear, kinds = (tuple(x) for x in zip(*sides, strict=True))
    kind = kinds[0] if kinds[0] == kinds[1] else "soft" if "none" not in kinds else "none"
    if alone.parts.records.any() and kind not in ("hard", "sign"):
        own, behind = _behind(curve)
        kind, limits = (behind, own) if behind != "none" else ("normalised" if kind == "soft" else "none", limits)
    beyond, interval = _beyond(visits.grads, linear)
    span = visits.quantiles(0.99)[0] if kind == "none" else max(visits.quantiles(0.99)[0], 3 * min(limits, default=0))
    grid = span * np.linspace(-1, 1, 2 * GRID + 1)
    drawn = [UpdateFunction(label, grid, maps.move(state, grid, at)[1]) for label, (state, at) in labelled.items()]
    return Clipping(kind, slope, levels, limits, linear, beyond, interval, tuple(drawn))


def _side(
    alone: Rest, h: np.ndarray, t: int, sign: float, slope: float, widest: float
) -> tuple[float, float, float, str]:
    """The level, the limit, the linear range and the kind of one side."""
    maps, size = alone.maps, alone.size
    at_zero = float(maps.move(h, 0.0, t)[1][0])

    def step(g: np.ndarray) -> np.ndarray:
        return -sign * (maps.move(h, sign * g, t)[1] - at_zero)

    grid = np.geomspace(1e-6 * size, 1e3 * widest, 10 * GRID)
    steps = step(grid)
    level, far = float(np.abs(steps).max()), steps[grid <= widest]
    straight = slope * grid
    # Where the slope is that of a chord, nothing nearer than its end is straight or bent.
    bent = (np.abs(steps - straight) > BENT * np.abs(straight)) & (grid >= alone.probe)
    reach = float(grid[np.argmax(bent)]) if bent.any() else np.inf
    if level == 0 or not np.isfinite(steps).all():
        return level, np.inf, reach, "none"
    first = len(grid) - int(np.argmin(np.append(_flat(steps[::-1], steps[-1]), False)))
    if first == 0:
        return level, 0.0, 0.0, "sign"
    # Flat to the last bits, and steep just before: a clip.
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
        low, high = (low, middle) if _flat(step(np.array([middle]))[0], end) else (middle, high)
    return high


def _flat(steps: np.ndarray, end: float) -> np.ndarray:
    return np.abs(steps - end) <= FLAT * abs(end)


def _behind(curve: Adaptation) -> tuple[tuple[float, float], str]:
    """The limits and the kind of a clip that a rule applies before it normalises, (inf, inf) where there is none.

    Under a constant gradient a normalising rule steps by u(g) · r(g) · const, u being what of g it lets in and r(g) the
    rate at h*_g, which knows of the normalisation alone. What the one lacks against the other is the clip.
    """
    limits, kinds = [], []
    for sign in (-1, 1):
        arm = np.flatnonzero((np.sign(curve.grads) == sign) & (curve.rates > 0) & (curve.steps * curve.grads < 0))
        arm = arm[np.argsort(np.abs(curve.grads[arm]))]
        if len(arm) < 8:
            return (np.inf, np.inf), "none"
        sizes, let_in = np.abs(curve.grads[arm]), np.abs(curve.steps[arm]) / curve.rates[arm]
        let_in = let_in * sizes[0] / let_in[0]
        grown = np.log(let_in[-1] / let_in[-4]) / np.log(sizes[-1] / sizes[-4])
        if let_in[-1] > sizes[-1] / 2 or grown > 0.2:
            return (np.inf, np.inf), "none"
        limit = float(let_in.max())
        straight = sizes < 0.9 * limit
        hard = np.allclose(let_in[straight], sizes[straight], rtol=1e-2)
        limits.append(limit)
        kinds.append("hard" if hard and straight.any() else "soft")
    return (limits[0], limits[1]), kinds[0] if kinds[0] == kinds[1] else "soft"


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
