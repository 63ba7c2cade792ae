"""Searching settings for a training function of the user's own."""

import math

import numpy as np
import pytest

import optiscope as osc
from optiscope.frameworks.numpy import iterate
from optiscope.lab import search
from optiscope.lab.tune import CONFIRMATION_SEEDS
from optiscope.rules import LogUniform

pytest.importorskip("optuna")
SPACE = {"lr": LogUniform(1e-4, 1e2)}


def train(rule, seed):
    """Ten steps on ½ x², from a start that the seed draws."""
    start = np.random.default_rng(seed).normal(size=3)
    for step in iterate(lambda x: x, start, rule):
        if step.t == 10:
            return np.vdot(step.x, step.x) / 2


def test_it_finds_a_rate_that_a_random_draw_would_miss():
    found = search("gd", train, trials=40, space=SPACE)
    assert found.best.lr == pytest.approx(1, rel=0.3)  # which ends in one step
    assert found.best_score == pytest.approx(train(found.best, CONFIRMATION_SEEDS))
    assert len(found.trials) == 40
    assert sum(not math.isnan(row["confirmed"]) for row in found.trials) == 3
    assert search("gd", train, trials=40, space=SPACE).trials[-1]["lr"] == found.trials[-1]["lr"]


def test_trainings_that_fail_are_counted_and_never_win():
    seen = []

    def fails_above_one(rule, seed):
        seen.append(rule.lr)
        return math.nan if rule.lr > 1 else rule.lr

    found = search("gd", fails_above_one, trials=20, space=SPACE)
    assert max(seen) > 1
    assert found.best.lr == min(seen)
    assert sum(math.isinf(row["score"]) for row in found.trials) == sum(lr > 1 for lr in seen[:20])


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"train": lambda rule, seed: "low"}, "must return one number, not 'low'"),
        ({"train": lambda rule, seed: math.inf}, "no setting of gd trained without failing"),
        ({"trials": 0}, "trials must be a whole number ≥ 1, not 0"),
        ({"rule": 3}, "a rule is wanted"),
    ],
)
def test_bad_input(ask, sentence):
    given = {"rule": "gd", "train": train, "trials": 3, "space": SPACE, **ask}
    with pytest.raises(osc.BadInput, match=sentence):
        search(given.pop("rule"), given.pop("train"), **given)
