"""Where a rule comes to rest: fixed points of F(·, 0), by Newton's method from many visited states.

Each state is left alone first, so that Newton's method ends where the rule itself would; and is taken as it is too,
which leads to the saddles between.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .dynamics import Dynamics

STARTS = 64
ITERATIONS = 100
SOLVED = 1e-10
"""The residual ‖F(h) − h‖∞, in units of the state's own scale, below which a point is a fixed point."""
TOGETHER = 1e-6
"""How near to each other, in the same units, two arrivals are the same point."""
SETTLING = 1000
"""Steps a state is left alone for, before Newton's method takes over."""
AWAY = 2.0
"""A point so many times as far out as any state visited is none that the rule can come to."""
LARGEST = 1024
"""The most numbers of a state whose Jacobian is worth its memory and time."""


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state that the rule, meeting no gradient, stays in."""

    h: np.ndarray
    """Shape (d,). Clocks and records of size are held, and the rest is at rest."""
    residual: float
    """‖F(h) − h‖∞ over what is free."""
    eigenvalues: np.ndarray
    """Of ∂F/∂h over what is free, largest modulus first."""
    reached: int
    """How many of the starts led here, left alone."""
    spread: float
    """The largest distance between two of their arrivals."""

    drift: float
    """The step there, S(h, 0): 0 for a rule that rests when its state does."""

    @property
    def stable(self) -> bool:
        """Whether every eigenvalue lies inside the unit circle."""
        return bool((np.abs(self.eigenvalues) < 1).all())


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoints:
    """All that were found, the most reached first."""

    points: tuple[FixedPoint, ...]
    starts: int
    """How many starts there were."""
    arrived: int
    """How many of them arrived at a fixed point."""
    line: bool
    """Whether the points form a line or more, ∂F/∂h having the eigenvalue 1: what is summed up is never forgotten."""


def solve(maps: Dynamics, starts: np.ndarray, free: np.ndarray, grads: Any, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on F(h, g) − h = 0 from each of n starts, moving what is free: the points and their residuals.

    The residual is in units of 1 + ‖h‖∞. Where ∂F/∂h − 1 has no inverse the shortest step is taken.
    """
    h, grads = starts.copy(), np.broadcast_to(grads, len(starts))
    best, least = h.copy(), np.full(len(h), np.inf)
    at = np.flatnonzero(free)
    active = np.arange(len(h))
    for _ in range(ITERATIONS):
        off = maps.move(h[active], grads[active], t)[0][:, at] - h[active][:, at]
        residual = np.abs(off).max(axis=1, initial=0) / (1 + np.abs(h[active][:, at]).max(axis=1, initial=0))
        better = residual < least[active]
        best[active[better]], least[active[better]] = h[active[better]], residual[better]
        going = np.isfinite(residual) & (residual > 1e-15) & (better | (residual > SOLVED))
        active, off = active[going], off[going]
        if not len(active) or not len(at):
            break
        jacobian = maps.linear(h[active], grads[active], t).F_h[:, at[:, None], at[None, :]] - np.eye(len(at))
        usable = np.isfinite(jacobian).all(axis=(1, 2))
        active, off, jacobian = active[usable], off[usable], jacobian[usable]
        if not len(active):
            break
        move = -np.stack([_solved(J, f) for J, f in zip(jacobian, off, strict=True)])
        # A step longer than the state is wide is a guess from too far away.
        wide = 1 + np.abs(h[active][:, at]).max(axis=1, keepdims=True)
        h[active[:, None], at] += move * np.minimum(
            1, wide / np.maximum(np.abs(move).max(axis=1, keepdims=True), 1e-300)
        )
    return best, least


def _solved(J: np.ndarray, f: np.ndarray) -> np.ndarray:
    try:
        found = np.linalg.solve(J, f)
    except np.linalg.LinAlgError:
        found = np.full_like(f, np.inf)
    if np.isfinite(found).all() and np.abs(found).max(initial=0) < 1e12 * (1 + np.abs(f).max(initial=0)):
        return found
    return np.linalg.lstsq(J, f, rcond=1e-10)[0]


def fixed_points(maps: Dynamics, starts: np.ndarray, held: np.ndarray, free: np.ndarray, t: int) -> FixedPoints:
    """The fixed points under no gradient that Newton reaches from `starts`, (n, d), what is not free being `held`."""
    starts = np.where(free, starts, held)
    alone = _settled(maps, starts, free, t)
    found, residuals = solve(maps, np.concatenate([alone, starts]), free, 0.0, t)
    # Far out a network's gates are shut to the last bit, and all points rest.
    near = np.abs(found[:, free]).max(axis=1, initial=0) <= AWAY * np.abs(starts[:, free]).max(initial=0)
    arrived = np.flatnonzero((residuals < SOLVED) & near)
    groups: list[list[int]] = []
    for i in arrived[np.argsort(residuals[arrived], kind="stable")]:
        for group in groups:
            first = found[group[0]]
            if np.abs(found[i] - first).max(initial=0) < TOGETHER * (1 + np.abs(first[free]).max(initial=0)):
                group.append(i)
                break
        else:
            groups.append([i])
    groups.sort(key=lambda group: (-sum(i < len(starts) for i in group), -len(group)))
    at = np.flatnonzero(free)
    points, line = [], False
    for group in groups[:STARTS]:
        h = found[group[0]]
        J = maps.linear(h, 0.0, t).F_h[0][np.ix_(at, at)]
        eigenvalues = np.linalg.eigvals(J) if np.isfinite(J).all() else np.full(len(at), np.nan)
        line |= bool((np.abs(eigenvalues - 1) < 1e-9).any())
        new, step = maps.move(h, 0.0, t)
        off = np.abs(new[0] - h)[free].max(initial=0)
        order = np.argsort(-np.abs(eigenvalues), kind="stable")
        spread = float(np.ptp(found[group], axis=0).max(initial=0))
        led = sum(i < len(starts) for i in group)
        points.append(FixedPoint(h, float(off), eigenvalues[order], led, spread, float(step[0])))
        if line:
            break
    return FixedPoints(tuple(points), len(starts), int((arrived < len(starts)).sum()), line)


def _settled(maps: Dynamics, starts: np.ndarray, free: np.ndarray, t: int) -> np.ndarray:
    """The states after a while of no gradient; those that ran away meanwhile are as they were."""
    h = starts
    for _ in range(SETTLING):
        before, h = h, np.where(free, maps.move(h, 0.0, t)[0], h)
        if np.array_equal(before, h):
            break
    return np.where(np.isfinite(h).all(axis=1, keepdims=True), h, starts)
