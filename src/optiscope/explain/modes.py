"""Momentum, read off the linear modes.

Near a fixed point a rule is linear: h' = J h + B g, step = S_h h + S_g g. Its answer to one gradient is a sum of
geometric terms over the eigenvalues of J, and a momentum term, v ← β v + g with − α v in the step, is exactly one:

    − step_k = Σⱼ αⱼ βⱼᵏ        αⱼ = − (S_h rⱼ)(lⱼ B) / βⱼ        k steps after the gradient, k = 0 at once

What the terms leave of the step at k = 0 is plain descent, the term with β = 0 (Maheswaranathan et al., 2021, section
4.1). Modes are ranked by |α| / (1 − |β|), the whole step that a gradient leads to: a slow mode that nothing feeds is
no momentum.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.optimize import least_squares

from .dynamics import Linear

GONE = 1e-9
"""A mode that is over so soon is no geometric term."""
EQUAL = 1e-9
"""How near two eigenvalues are to count as one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mode:
    """A momentum term. A pair of conjugate eigenvalues is one, with β above the real line: − step_k = 2 Re(α βᵏ)."""

    beta: complex
    alpha: complex
    right: np.ndarray
    """The eigenvector, of length 1, along which the state moves; shape (d,). Zero in plain descent."""

    @property
    def oscillates(self) -> bool:
        return self.beta.imag != 0

    @property
    def reach(self) -> float:
        """|α| / (1 − |β|), of both of a pair: how much of a step one gradient leads to at the most."""
        return float((1 + self.oscillates) * abs(self.alpha) / max(1 - abs(self.beta), 1e-12))

    @property
    def timescale(self) -> float:
        """In how many steps the mode falls to 1/e."""
        size = abs(self.beta)
        return float(-1 / np.log(size)) if 0 < size < 1 else 0.0 if size == 0 else np.inf


@dataclasses.dataclass(frozen=True, eq=False)
class Modes:
    """The linear modes at a fixed point, the farthest-reaching first."""

    modes: tuple[Mode, ...]
    h: np.ndarray
    """The fixed point, shape (d,)."""
    linear: Linear
    """The derivatives there, over what is free, n = 1."""
    condition: float
    """Of the matrix of eigenvectors: 1 where they are at right angles; far above, modes cancel each other."""

    @property
    def slow(self) -> tuple[Mode, ...]:
        """The modes that matter, each with at least a twentieth of the farthest's reach, momentum first in rank."""
        return tuple(m for m in self.modes if m.reach >= 0.05 * self.modes[0].reach)

    @property
    def momentum(self) -> Mode | None:
        """The farthest-reaching mode that remembers, |β| > 0.05."""
        return next((m for m in self.slow if abs(m.beta) > 0.05), None)

    @property
    def cancelling(self) -> bool:
        """Whether the modes mostly undo each other, as those of a non-normal ∂F/∂h do: none of them is then a term."""
        whole = sum((1 + m.oscillates) * (m.alpha / (1 - m.beta)).real for m in self.modes if abs(m.beta) < 1)
        return len(self.slow) > 4 or sum(m.reach for m in self.slow) > 3 * abs(whole)

    @functools.cached_property
    def terms(self) -> tuple[tuple[float, float], ...]:
        """The rule as few momentum terms (β, α): its modes; where they cancel, the fewest that answer alike.

        Alike is to 1 % of the energy of the answer to one gradient; three terms at the most, and none that cancel.
        """
        if not self.cancelling:
            return tuple((abs(m.beta), (1 + m.oscillates) * m.alpha.real) for m in self.slow)
        slowest = max((m.timescale for m in self.slow if np.isfinite(m.timescale)), default=1.0)
        k = np.arange(min(1000, int(10 * slowest) + 10))
        wanted = self.response(k)
        found: tuple[tuple[float, float], ...] = ()
        for n in (1, 2, 3):
            more, left = _fitted(k, wanted, n)
            whole = sum(alpha / (1 - beta) for beta, alpha in more)
            if found and sum(abs(alpha) / (1 - beta) for beta, alpha in more) > 3 * abs(whole):
                break  # terms that undo each other say no more than the one they stand around
            found = more
            if left < 0.01:
                break
        return found

    def response(self, k: np.ndarray) -> np.ndarray:
        """− step k steps after a gradient of 1, from the modes."""
        return sum((1 + m.oscillates) * (m.alpha * m.beta ** k.astype(float)).real for m in self.modes) + 0 * k


def modes(linear: Linear, free: np.ndarray, h: np.ndarray) -> Modes:
    """The momentum terms of the linear system at a point, n = 1, over what is free."""
    at = np.flatnonzero(free)
    J, B, row = linear.F_h[0][np.ix_(at, at)], linear.F_g[0][at], linear.S_h[0][at]
    own = Linear(J[None], B[None], row[None], linear.S_g, linear.S_theta)
    values, right = np.linalg.eig(J) if len(at) else (np.zeros(0), np.zeros((0, 0)))
    fed = np.linalg.solve(right, B.astype(right.dtype)) if len(at) else np.zeros(0)
    found: list[Mode] = []
    for value, vector, strength in zip(values, right.T, fed * (row @ right), strict=True):
        if abs(value) < GONE or value.imag < 0:
            continue
        whole = np.zeros(len(free), vector.dtype)
        whole[at] = vector
        new = Mode(complex(value), complex(-strength / value), whole)
        same = next((i for i, m in enumerate(found) if abs(m.beta - new.beta) < EQUAL), None)
        if same is None:
            found.append(new)
        else:  # terms that decay alike are one
            found[same] = dataclasses.replace(found[same], alpha=found[same].alpha + new.alpha)
    at_once = -float(linear.S_g[0]) - sum((1 + m.oscillates) * m.alpha.real for m in found)
    found.append(Mode(0j, complex(at_once), np.zeros(len(free))))
    ranked = tuple(sorted(found, key=lambda m: -m.reach))
    return Modes(ranked, h, own, float(np.linalg.cond(right)) if len(at) else 1.0)


def _fitted(k: np.ndarray, wanted: np.ndarray, n: int) -> tuple[tuple[tuple[float, float], ...], float]:
    """`n` momentum terms (β, α) whose answers add up to `wanted`, and the share of its energy that they leave."""

    def basis(u: np.ndarray) -> np.ndarray:
        return np.exp(-k[:, None] * np.exp(u))  # βᵏ with β = exp(− eᵘ), between 0 and 1 whatever u

    def off(u: np.ndarray) -> np.ndarray:
        return basis(u) @ np.linalg.lstsq(basis(u), wanted, rcond=1e-8)[0] - wanted

    starts = [np.log(1 / np.geomspace(scale, 4.0**n * scale, n)) for scale in (1.0, 3.0, 10.0)]
    tried = [least_squares(off, start, bounds=(-12.0, 4.0)) for start in starts]
    best = min(tried, key=lambda found: found.cost)
    alphas = np.linalg.lstsq(basis(best.x), wanted, rcond=1e-8)[0]
    betas = np.exp(-np.exp(best.x))
    order = np.argsort(-np.abs(alphas) / (1 - betas), kind="stable")
    return tuple((float(betas[i]), float(alphas[i])) for i in order), float(2 * best.cost / (wanted @ wanted))
