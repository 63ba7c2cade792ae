"""A rule with mechanisms drawn at random is given its right names."""

import numpy as np
import pytest

import optiscope as osc
from optiscope.rules import Rule
from optiscope.values import value


@value
class Composed(Rule):
    """Two momentum terms, a clip, a schedule and a power of the gradient's size, each of which may be away.

    Every number is a leaf, so that all draws are one program.
    """

    name = "composed"
    betas: np.ndarray
    alphas: np.ndarray
    limit: float
    hardness: float
    """1 for a clip with a corner, 0 for a smooth one."""
    power: float
    memory: float
    rise: float
    start: float
    fall: float
    end: float

    def init(self, param, xp):
        return {"m": xp.stack([xp.zeros_like(param)] * 2, -1), "v": xp.zeros_like(param)}

    def update(self, grad, state, param, t, xp):
        hard, soft = xp.clip(grad, -self.limit, self.limit), self.limit * xp.tanh(grad / self.limit)
        u = self.hardness * hard + (1 - self.hardness) * soft
        m = xp.stack([self.betas[i] * state["m"][..., i] + u for i in range(2)], -1)
        v = self.memory * state["v"] + (1 - self.memory) * grad * grad
        size = (v / (1 - self.memory**t) + 1e-16) ** (self.power / 2)
        up = self.start + (1 - self.start) * xp.clip(t / self.rise, 0.0, 1.0)
        down = 1 + (self.end - 1) * xp.clip((t - self.rise) / self.fall, 0.0, 1.0)
        return -(m[..., 0] * self.alphas[0] + m[..., 1] * self.alphas[1]) * size * up * down, {"m": m, "v": v}


def drawn(rng):
    """A rule and the mechanisms it has."""
    has = {what for what in ("momentum", "clipping", "schedule", "adaptation") if rng.random() < 0.5}
    terms = rng.integers(1, 3) if "momentum" in has else 0
    betas = np.where(np.arange(2) < terms, rng.uniform(0.5, 0.98, 2), 0.0)
    alphas = rng.uniform(0.02, 0.2, 2) * (1 - betas)
    shape = rng.integers(3) if "schedule" in has else 3  # up, down, or both
    rule = Composed(
        betas=betas,
        alphas=alphas,
        limit=rng.uniform(0.2, 5.0) if "clipping" in has else 1e12,
        hardness=float(rng.integers(2)),
        power=-rng.uniform(0.3, 1.0) if "adaptation" in has else 0.0,
        memory=rng.uniform(0.8, 0.99),
        rise=rng.uniform(10, 80),
        start=rng.uniform(0.05, 0.6) if shape in (0, 2) else 1.0,
        fall=rng.uniform(40, 110),
        end=rng.uniform(0.05, 0.6) if shape in (1, 2) else 1.0,
    )
    return rule, has


def named(draws, first=0):
    """How many draws get the right names; and the wrong ones, to be looked at."""
    wrong = []
    for i in range(first, first + draws):
        rule, has = drawn(np.random.default_rng(i))
        found = osc.explain(rule, osc.task("quadratic"))
        got = {f.mechanism for f in found.verdict.findings if f.present}
        if got != has:
            wrong.append((i, has, got, found.verdict.sentence))
    return draws - len(wrong), wrong


def test_a_few_random_rules_get_their_right_names():
    right, wrong = named(6)
    assert right == 6, wrong


@pytest.mark.slow
def test_at_least_95_of_100_random_rules_get_their_right_names():
    right, wrong = named(100, first=100)
    assert right >= 95, wrong
