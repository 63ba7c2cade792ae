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
    assert found.better == np.mean(other < best)


def test_two_failures_on_one_seed_are_a_tie_and_one_is_the_worst():
    found = statistics.paired(np.array([INF, INF, 1.0, 2.0]), np.array([INF, 1.0, 1.0, 3.0]))
    assert found.better == (1 + 2 * 0.5) / 4
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
