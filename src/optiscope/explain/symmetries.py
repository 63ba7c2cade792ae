"""What a rule does not care about: the gradient's scale, its sign, where the parameter's zero is."""

from __future__ import annotations

import dataclasses

import numpy as np

from .dynamics import Dynamics
from .visits import Visits

SEQUENCES, STEPS = 16, 50
EXACT = 1e-9


@dataclasses.dataclass(frozen=True)
class Symmetries:
    """Three answers, measured on sequences of gradients that the rule met."""

    scaling: float
    """p in step(c · g) ≈ cᵖ · step(g): 1 for a linear rule, 0 for one that the gradient's scale is nothing to."""
    scaling_error: float
    """How far from a power law that is: the root-mean-square deviation, as a share of the steps."""
    oddness: float
    """‖step(− g) + step(g)‖ / ‖step(g)‖: 0 for a rule that treats both signs alike."""
    shrinkage: float
    """− ∂step/∂θ: weight decay, 0 for a rule that moves with the parameter's zero."""

    @property
    def odd(self) -> bool:
        return self.oddness < EXACT

    @property
    def translates(self) -> bool:
        return abs(self.shrinkage) < EXACT


def symmetries(maps: Dynamics, visits: Visits) -> Symmetries:
    """Scale, mirror and shift what the rule met, and see what becomes of its steps."""
    whole = np.moveaxis(visits.grads[:, :STEPS], 1, 2).reshape(-1, min(STEPS, visits.grads.shape[1]))
    whole = whole[np.isfinite(whole).all(axis=1) & whole.any(axis=1)]
    met = whole[np.random.default_rng(0).permutation(len(whole))[:SEQUENCES]]
    if not len(met):
        return Symmetries(np.nan, np.nan, np.nan, np.nan)
    scale = 10.0
    told = maps.follow(maps.initial, np.concatenate([met, -met, scale * met]))[1]
    same, mirrored, scaled = np.split(told, 3)
    length = float(np.linalg.norm(same))
    if length == 0:
        return Symmetries(np.nan, np.nan, 0.0, 0.0)
    factor = float(np.sum(scaled * same) / length**2)
    error = float(np.linalg.norm(scaled - factor * same) / np.linalg.norm(scaled)) if scaled.any() else np.nan
    exponent = float(np.log(factor) / np.log(scale)) if factor > 0 else np.nan
    state = maps.move(maps.initial, met[0, 0])[0]
    shrinkage = -float(maps.linear(state, met[0, 0], 2, 1.0).S_theta[0])
    return Symmetries(exponent, error, float(np.linalg.norm(same + mirrored) / length), shrinkage)
