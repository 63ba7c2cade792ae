"""The scoring, on cases whose answers are known."""

import numpy as np
import pytest
from scipy import stats

from optiscope.lab import statistics

INF = np.inf


def test_interquartile_mean_by_hand():
    assert statistics.iqm(np.array([0.0, 1, 2, 3, 4, 5, 6, 100])) == (2 + 3 + 4 + 5) / 4
    assert statistics.iqm(np.array([1.0, 2, 3, INF])) == 2.5  # one failure in four is trimmed
    assert statistics.iqm(np.array([1.0, 2, INF, INF])) == INF


def test_a_failure_makes_the_mean_infinite_and_leaves_the_median():
    s = statistics.summary(np.array([1.0, 2, 3, 4, 5, 6, 7, INF]))
    assert (s.mean, s.standard_error, s.median) == (INF, INF, 4.5)
    assert s.iqm == 4.5
    assert s.low < s.iqm <= s.high


def test_mean_and_standard_error():
    scores = np.array([1.0, 2, 4, 8])
    s = statistics.summary(scores)
    assert s.mean == 3.75
    assert s.standard_error == pytest.approx(stats.sem(scores))
    large = statistics.summary(np.array([1e30, 3e30], np.float32))  # whose squares float32 does not hold
    assert large.standard_error == pytest.approx(1e30, rel=1e-6)


def test_the_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(400, 64))
    covered = np.mean([low <= 0 <= high for low, high in map(statistics.interval, draws)])
    assert 0.95 - 0.045 < covered < 0.95 + 0.035  # 3 binomial standard errors, and the percentile method's known bias


def test_the_interval_holds_with_failures_and_for_one_seed():
    low, high = statistics.interval(np.r_[np.ones(20), np.full(8, INF)])
    assert low == 1
    assert high == INF
    assert statistics.interval(np.array([2.0])) == (2.0, 2.0)


def test_paired_against_scipy_and_by_hand():
    rng = np.random.default_rng(0)
    best, other = rng.normal(size=64), rng.normal(size=64) + 0.3
    found = statistics.paired(other, best)
    assert found.p == pytest.approx(stats.wilcoxon(other, best).pvalue)
    assert found.difference == pytest.approx(np.median(other - best))
    assert found.worse
    assert not statistics.paired(best, other).worse
    assert statistics.improvement(other, best).probability == np.mean(other < best)


def test_two_failures_on_one_seed_are_a_tie_and_one_is_the_worst():
    found = statistics.improvement(np.array([INF, INF, 1.0, 2.0]), np.array([INF, 1.0, 1.0, 3.0]))
    assert found.probability == (1 + 2 * 0.5) / 4
    assert statistics.paired(np.array([1.0, INF]), np.array([1.0, INF])).p == 1
    # Twenty seeds that all fail against a rule that never does: as significant as twenty finite losses.
    assert statistics.paired(np.full(20, INF), np.arange(20.0)).p < 1e-4


def test_holms_adjustment_by_hand():
    # Holm (1979): p(1)·4 = 0.04, p(2)·3 = 0.06, p(3)·2 = 0.06 (0.03·2), p(4)·1 = 0.04 → made monotone.
    assert statistics.holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_steps_to_a_target():
    loss = np.array([[3.0, 2, 1, 2], [3, 3, 3, 3], [1, 9, 9, 9]])
    assert statistics.steps_to(loss, np.array([0, 10, 20, 30]), 1.5).tolist() == [20, INF, 0]


def test_a_stratified_bootstrap_draws_within_each_task():
    # Two tasks a million apart: resampling over both together would often have more than half from one of them, and
    # the interquartile mean of the pooled scores would wander from one to the other.
    scores = np.stack([np.arange(8.0), 1e6 + np.arange(8.0)])
    low, high = statistics.interval(scores)
    middle = float(statistics.iqm(scores, axis=None))
    assert middle == (4 + 5 + 6 + 7 + 4e6 + 0 + 1 + 2 + 3) / 8
    assert 5e5 <= low <= middle <= high <= 5e5 + 7
    np.testing.assert_array_equal(statistics.interval(scores[:1]), statistics.interval(scores[0]))


def test_the_probability_of_improvement_has_wilsons_interval():
    # Wilson (1927), as scipy computes it, for 12 seeds of 16.
    ours, theirs = np.zeros(16), np.r_[np.ones(12), -np.ones(4)]
    found = statistics.improvement(ours, theirs)
    wilson = stats.binomtest(12, 16).proportion_ci(method="wilson")
    np.testing.assert_allclose(found, (0.75, wilson.low, wilson.high), rtol=1e-12)
    every = statistics.improvement(np.zeros(16), np.ones(16))
    assert (every.probability, every.high) == (1, 1)
    assert every.low == pytest.approx(stats.binomtest(16, 16).proportion_ci(method="wilson").low)


def test_the_probability_of_improvement_over_tasks_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    chances = np.array([0.5, 0.7, 0.95])
    covered = []
    for _ in range(1000):
        wins = rng.random((3, 32)) < chances[:, None]
        found = statistics.improvement(np.where(wins, 0.0, 1.0), np.full((3, 32), 0.5))
        covered.append(found.low <= chances.mean() <= found.high)
    assert 0.95 - 0.025 < np.mean(covered) < 0.95 + 0.035  # Zou & Donner's is conservative, if anything


def test_anytime_loss_is_the_area_under_the_curve_by_hand():
    at = np.array([0, 10, 20, 25])
    loss = np.array([[4.0, 2, 2, 0], [1, 1, 1, 1], [1, np.nan, 1, 1]])
    assert statistics.anytime(loss, at).tolist() == [(30 + 20 + 5) / 25, 1, INF]


def test_performance_profiles_by_hand():
    # Three contenders, four problems: a is fastest on two, b on one; nobody solves the last; c never solves any.
    costs = np.array([[10.0, 20, 60, INF], [20, INF, 30, INF], [INF] * 4])
    ratios = statistics.ratios(costs)
    np.testing.assert_array_equal(ratios, [[1, 1, 2, INF], [2, INF, 1, INF], [INF] * 4])
    within = np.array([1.0, 1.9, 2, 1e9])
    assert statistics.profile(ratios[0], within).tolist() == [0.5, 0.5, 0.75, 0.75]
    assert statistics.profile(ratios[1], within).tolist() == [0.25, 0.25, 0.5, 0.5]
    assert statistics.profile(ratios[2], within).tolist() == [0, 0, 0, 0]


def test_a_target_that_holds_at_the_start_is_a_tie():
    np.testing.assert_array_equal(statistics.ratios(np.zeros((2, 3))), np.ones((2, 3)))
