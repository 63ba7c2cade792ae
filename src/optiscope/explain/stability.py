"""How steep a slope a rule can stand: the largest curvature λ at which it still comes to rest on ½ λ θ².

The rule and the slope are one linear system, (h, θ)' = [[J, λB], [S_h, 1 + λ S_g]] (h, θ), which is predicted to be
stable while every eigenvalue lies inside the unit circle. The measurement runs the rule itself from very near the
minimum, its clocks and its records of size held as they are for the modes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import brentq

from .dynamics import Linear
from .rest import Rest

CURVATURES = 256
STEPS = 600
NEAR = 1e-9
RUNAWAY = 1e5
"""Grown so much, a displacement is away for good, whatever the rule does with large ones."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stability:
    """The largest stable curvature, infinite where none was too large, NaN where the maps have no derivative."""

    predicted: float
    """From the linear modes."""
    measured: float
    """From runs of the rule."""
    curvatures: np.ndarray
    """Curvatures around the prediction, shape (n,)."""
    radii: np.ndarray
    """The largest modulus of the linear system's eigenvalues at each: how much a step leaves of an error; (n,)."""


def stability(alone: Rest, h: np.ndarray, t: int) -> Stability:
    """Predict the edge of stability at a fixed point, and measure it."""
    if alone.probe and not alone.parts.records.any():
        return Stability(np.nan, np.nan, np.zeros(0), np.zeros(0))
    linear = alone.maps.linear(h, 0.0, t)
    at = np.flatnonzero(alone.parts.free)
    once = abs(float(linear.S_g[0]))
    if once == 0 or not np.isfinite(linear.F_h).all():
        return Stability(np.nan, np.nan, np.zeros(0), np.zeros(0))
    wide = np.geomspace(1e-4, 1e4, CURVATURES) / once
    over = np.array([radius(linear, at, x) for x in wide]) > 1 + 1e-12
    edge = int(np.argmax(over))
    if not over.any() or edge == 0:
        predicted = np.inf if not over.any() else np.nan
        return Stability(predicted, np.nan, wide, np.array([radius(linear, at, x) for x in wide]))
    predicted = float(brentq(lambda x: radius(linear, at, x) - 1, wide[edge - 1], wide[edge], xtol=1e-300, rtol=1e-12))
    low, high = predicted / 100, predicted * 100
    for _ in range(2):
        tried = np.geomspace(low, high, CURVATURES)
        grew = _grows(alone, h, t, tried)
        first = int(np.argmax(grew)) if grew.any() else len(tried) - 1
        low, high = tried[max(first - 1, 0)], tried[first]
    around = predicted * np.linspace(0, 1.5, 101)[1:]
    return Stability(predicted, float((low + high) / 2), around, np.array([radius(linear, at, x) for x in around]))


def radius(linear: Linear, free: np.ndarray, curvature: float) -> float:
    """The largest modulus of the eigenvalues of the rule and the slope together."""
    J, B, row = linear.F_h[0][np.ix_(free, free)], linear.F_g[0][free], linear.S_h[0][free]
    whole = np.block([[J, curvature * B[:, None]], [row[None], np.array([[1 + curvature * linear.S_g[0]]])]])
    return float(np.abs(np.linalg.eigvals(whole)).max())


def _grows(alone: Rest, h: np.ndarray, t: int, curvatures: np.ndarray) -> np.ndarray:
    """On which slopes a small displacement runs away, or is larger after STEPS steps than after a sixth of them."""
    maps, free = alone.maps, alone.parts.free
    theta = NEAR * alone.size / curvatures
    state = np.tile(h, (len(curvatures), 1))
    drift = maps.move(h, 0.0, t)[1][0]  # what the rule steps by at rest is no motion of the slope's
    sizes = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS):
            new, step = maps.move(state, np.clip(curvatures * theta, -1e100, 1e100), t)
            state, theta = np.where(free, new, h), theta + (step - drift)
            sizes.append(np.abs(theta))
    sizes = np.nan_to_num(np.array(sizes), nan=np.inf)
    sixth = STEPS // 6
    later = sizes[-sixth:].max(axis=0) > sizes[sixth : 2 * sixth].max(axis=0)
    return np.asarray(later | (sizes.max(axis=0) > RUNAWAY * sizes[0]))
