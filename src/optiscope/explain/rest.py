"""The rule left alone, and how it would answer a small gradient there.

Rules that record the gradient's size divide by the record, and at a record of zero they have no derivative: Adam at
rest is 0 / √0. No run of such a rule meets a small gradient on a record of zero, though. So the record is held at what
gradients of the typical size s leave in it, and the answer is read with a gradient of that size: (S(h, s) − S(h, −s))
/ 2s in place of ∂S/∂g. A rule without records is read by its derivative at g = 0.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .dynamics import Dynamics, Linear, Parts

NEAR = 1e-8
"""The gradient, in units of the typical size, whose answer shows whether the maps have a derivative at 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rest:
    """The way of a rule under no gradient: F(h, 0) for what points somewhere, F(h, s) for records of size."""

    maps: Dynamics
    parts: Parts
    size: float
    """s, the typical |g|."""
    probe: float
    """The gradient that answers are read with: s, or 0 where the maps have a derivative there."""
    states: np.ndarray
    """Before each of T steps and after the last, shape (T + 1, d)."""

    def linear(self, h: np.ndarray, t: int | np.ndarray) -> Linear:
        """The derivatives at n points under no gradient, those in g taken over ± the probe."""
        if self.probe == 0:
            return self.maps.linear(h, 0.0, t)
        if self.parts.records.any():
            up, down = self.maps.linear(h, self.probe, t), self.maps.linear(h, -self.probe, t)
            mean = Linear(*((a + b) / 2 for a, b in zip(up, down, strict=True)))
        else:  # the jump is in g alone
            mean = self.maps.linear(h, 0.0, t)
        (F_up, S_up), (F_down, S_down) = (self.maps.move(h, sign * self.probe, t) for sign in (1, -1))
        return mean._replace(F_g=(F_up - F_down) / (2 * self.probe), S_g=(S_up - S_down) / (2 * self.probe))

    @property
    def rates(self) -> np.ndarray:
        """The effective learning rate of each step, − ∂S/∂g along the way; shape (T,)."""
        t = np.arange(1, len(self.states))
        if self.probe == 0:
            return -self.maps.linear(self.states[:-1], 0.0, t).S_g
        up, down = (self.maps.move(self.states[:-1], sign * self.probe, t)[1] for sign in (1, -1))
        return -(up - down) / (2 * self.probe)


def jumps(alone: Rest, h: np.ndarray, t: int) -> bool:
    """Whether the step jumps where what is remembered passes through `h`: Lion reads the sign of an average."""
    if alone.probe == 0 or alone.parts.records.any():
        return False
    tangent = alone.maps.linear(h, 0.0, t)
    moved = NEAR * alone.size * tangent.F_g[0]
    up, down = (float(alone.maps.move(h + sign * moved, 0.0, t)[1][0]) for sign in (1, -1))
    return bool(abs(up - down - 2 * float(tangent.S_h[0] @ moved)) > 0.01 * abs(up - down))


def rest(maps: Dynamics, found: Parts, size: float, steps: int) -> Rest:
    """Leave a rule alone for `steps` steps, its records at what gradients of `size` leave in them."""
    h = maps.initial[None]
    way = [h[0]]
    for t in range(1, steps + 1):
        still = maps.move(h, 0.0, t)[0]
        h = np.where(found.records, maps.move(h, size, t)[0], still) if found.records.any() else still
        way.append(h[0])
    states = np.array(way)
    kinked = found.records.any() or _kinked(maps, states, size)
    return Rest(maps, found, size, size if kinked else 0.0, states)


def _kinked(maps: Dynamics, states: np.ndarray, size: float) -> bool:
    """Whether the answer to the smallest gradients is not what the derivative at 0 says, as where a sign is read."""
    ends, t = states[[0, -1]], np.array([1, len(states)])
    tangent = maps.linear(ends, 0.0, t)
    tiny = NEAR * size
    (F_up, S_up), (F_down, S_down) = (maps.move(ends, sign * tiny, t) for sign in (1, -1))
    secant = np.column_stack([F_up - F_down, S_up - S_down]) / (2 * tiny)
    told = np.column_stack([tangent.F_g, tangent.S_g])
    # Rounding leaves about 1e-16 / tiny in a difference quotient.
    scale = np.abs(secant).max() + 1e-6 / size
    return not bool(np.allclose(secant, told, rtol=0, atol=1e-2 * scale + 1e-13 / tiny))
