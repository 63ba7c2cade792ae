"""A contest: the score, the gain and what is said of them."""

import numpy as np
import pytest

import optiscope as osc
from optiscope.lab.run import over_first
from optiscope.learning import contest, contested
from optiscope.learning.contest import gain


def test_gain_of_scores_that_are_known():
    theirs = np.array([0.5, 0.7, 0.9, 1.1])
    more, low, high = gain(theirs - 0.25, theirs)
    assert (more, low, high) == pytest.approx((0.25, 0.25, 0.25))  # the same on every seed: no spread
    more, low, high = gain(theirs - np.array([1.0, -1.0, 1.0, -1.0]), theirs)
    assert more == pytest.approx(0.0)
    assert low < 0 < high
    broken = np.array([0.1, np.inf, 0.1, 0.1])
    assert gain(broken, theirs) == (-np.inf,) * 3
    assert gain(theirs, broken) == (np.inf,) * 3


@pytest.fixture(scope="module")
def found():
    """Heavy ball with its optimal settings for the spectrum, as if it had been learned, against tuned descent."""
    ball = osc.Momentum(lr=3.7585, momentum=0.8811)
    return contest({"ball": ball}, osc.task("quadratic"), baselines=["gd"], trials=16, tuning_seeds=16, seeds=64)


def test_the_score_is_the_mean_loss_over_the_first(found):
    runs = osc.run(osc.Momentum(lr=3.7585, momentum=0.8811), osc.task("quadratic"), seeds=64)
    expected = runs.loss[:, :-1].mean(axis=1) / runs.loss[:, 0]
    (ball,) = found.learned
    np.testing.assert_allclose(ball.scores, expected, rtol=1e-5)
    assert {side.label for side in found.baselines} == {"gd", "gd + clip + schedule"}
    assert all(side.longer.at[-1] == 1000 for side in (*found.learned, *found.baselines))


def test_a_run_that_begins_at_infinity_or_at_zero_has_no_finite_score():
    mean, first = np.array([np.inf, 0.0, 0.5]), np.array([np.inf, 0.0, 1.0])
    np.testing.assert_array_equal(over_first(mean, first), [np.inf, np.inf, 0.5])


def test_the_table_and_the_sentence_say_who_is_better(found):
    row = next(row for row in found.table if row["rule"] == "ball")
    assert row["gain"] == pytest.approx(found.best_baseline.scores.mean() - found.learned[0].scores.mean())
    assert row["gain_low"] > 0
    assert f"ball comes to {row['mean']:.4g}, better by {row['gain']:.3g}" in found.sentence
    assert "gain" not in next(row for row in found.table if row["rule"] == "gd")


def test_a_run_that_diverged_is_counted():
    wild = contest({"wild": osc.GradientDescent(lr=1e3)}, osc.task("quadratic"), baselines=["gd"], trials=4,
                   tuning_seeds=4, seeds=4, with_schedule=False)  # fmt: skip
    row = wild.table[0]
    assert (row["rule"], row["diverged"], row["mean"], row["gain"]) == ("wild", 4, np.inf, -np.inf)
    assert "4 of its runs diverged" in wild.sentence


def test_bad_input():
    with pytest.raises(osc.BadInput, match="unknown task of the paper 'airfoil'; see the four: quadratic, rosenbrock"):
        contested("airfoil", osc.Adam(), trials=2, seeds=2)
