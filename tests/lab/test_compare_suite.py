"""Comparisons over several tasks, whose scores are known."""

import numpy as np
import pytest

import optiscope as osc
from optiscope.lab import statistics

RULES = {"exact": "gd:lr=1", "slow": "gd:lr=0.5", "broken": "gd:lr=1e6"}


def bowl(curvature, **ask):
    return osc.compare(
        RULES, osc.task("quadratic", spectrum=(curvature,) * 2), **{"steps": 40, "seeds": 8, "dtype": "float64", **ask}
    )


@pytest.fixture(scope="module")
def suite():
    # On ½ λ ‖x − x*‖² a step multiplies the loss by (1 − lr λ)²: lr 1 is exact for λ = 1 and lr 0.5 for λ = 2, where
    # lr 1 goes to and fro between two points of the same height for ever.
    return osc.suite([bowl(1.0), bowl(2.0)])


def test_scores_are_the_share_of_the_loss_left(suite):
    of = dict(zip(suite.labels, suite.scores, strict=True))
    np.testing.assert_allclose(of["exact"], [[0.0] * 8, [1.0] * 8], atol=1e-10)
    np.testing.assert_allclose(of["slow"], 0, atol=1e-10)
    assert np.isinf(of["broken"]).all()


def test_the_table_has_known_answers(suite):
    rows = {row["rule"]: row for row in suite.table}
    assert suite.labels == ("slow", "exact", "broken")
    assert rows["slow"]["reached"] == 1
    assert rows["exact"]["reached"] == 0.5
    assert rows["exact"]["fastest"] + rows["slow"]["fastest"] >= 1  # both, where they come there together
    assert (rows["broken"]["reached"], rows["broken"]["iqm"]) == (0, np.inf)
    assert rows["exact"]["iqm"] == pytest.approx(0.5, abs=1e-10)  # the middle half of eight zeros and eight ones
    assert rows["broken"]["verdict"] == "worse"
    assert suite.sentence.startswith("over 2 tasks slow leaves the least of the loss")


def test_the_profile_is_the_one_of_the_counted_steps(suite):
    # On λ = 1, lr 0.5 leaves (1 − ½)^(2k) of the loss after k steps, and the exact rate nothing after one.
    comparison = suite.comparisons[0]
    begun = comparison.entries[0].runs.loss[:, 0]
    needed = np.maximum(np.ceil(np.log(begun / comparison.target) / np.log(4)), 1)
    ratios = dict(zip(suite.labels, statistics.ratios(suite.costs), strict=True))
    np.testing.assert_array_equal(ratios["slow"], [*needed, *[1] * 8])
    np.testing.assert_array_equal(ratios["exact"], [1] * 8 + [np.inf] * 8)
    shares = [np.mean(ratios["slow"] <= most) for most in (1.0, 3.0, 4.0)]
    np.testing.assert_array_equal(statistics.profile(ratios["slow"], np.array([1.0, 3.0, 4.0])), shares)


def test_where_no_optimum_is_known_the_best_found_counts():
    comparison = osc.compare(RULES, osc.task("two-moons", rows=16, hidden=2), steps=5, seeds=4)
    suite = osc.suite([comparison])
    assert suite.scores.min() >= 0
    least = min(entry.runs.loss.min() for entry in comparison.entries)
    begun = comparison.entries[0].runs.loss[:, 0]
    exact = next(entry for entry in comparison.entries if entry.contender.label == "exact")
    wanted = (exact.runs.final - least) / (begun - least)
    np.testing.assert_allclose(suite.scores[suite.labels.index("exact"), 0], wanted, rtol=1e-6)


def test_bad_input():
    with pytest.raises(osc.BadInput, match="at least one comparison"):
        osc.suite([])
    other = osc.compare({"exact": "gd:lr=1"}, osc.task("parabola"), steps=2, seeds=8)
    with pytest.raises(osc.BadInput, match="the same contenders on every task; quadratic has broken, exact and slow"):
        osc.suite([bowl(1.0), other])
    with pytest.raises(osc.BadInput, match="as many seeds"):
        osc.suite([bowl(1.0), bowl(1.0, seeds=4)])
