"""Honest numbers from a few runs. A run that diverged comes in as infinity and is never dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000


class Summary(NamedTuple):
    """What n scores come to."""

    mean: float
    """Infinite where a run diverged, and then so is the standard error."""
    standard_error: float
    median: float
    iqm: float
    """Interquartile mean: the mean of the middle half."""
    low: float
    high: float
    """The 95 % bootstrap interval of the interquartile mean."""


class Paired(NamedTuple):
    """One rule's scores against another's on the same seeds."""

    difference: float
    """Median of the paired differences, rule − best: positive where the rule is worse."""
    better: float
    """The share of seeds on which the rule is better, ties counted half."""
    p: float
    """Of the two-sided Wilcoxon signed-rank test; 1 where no seed differs."""


def summary(scores: np.ndarray) -> Summary:
    """Summarise scores, shape (n,), n ≥ 1; infinite ones are failures."""
    n = len(scores)
    finite = bool(np.isfinite(scores).all())
    mean = float(scores.mean()) if finite else np.inf
    error = (float(scores.std(ddof=1) / n**0.5) if finite else np.inf) if n > 1 else np.nan
    return Summary(mean, error, float(np.median(scores)), float(iqm(scores)), *interval(scores))


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean (Agarwal et al., 2021): a quarter of the scores, rounded down, is left out at either end."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the interquartile mean; the same scores give the same interval."""
    if len(scores) < 2:
        return float(scores[0]), float(scores[0])
    draws = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    # Not scipy.stats.bootstrap: it interpolates between order statistics, which makes NaN of two infinities.
    low, high = np.quantile(iqm(scores[draws]), [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def paired(scores: np.ndarray, best: np.ndarray) -> Paired:
    """Compare two rules' scores on the same seeds, shapes (n,). Two failures on one seed are a tie."""
    with np.errstate(invalid="ignore"):
        differences = np.where(scores == best, 0.0, scores - best)
    better = float(np.mean(differences < 0) + np.mean(differences == 0) / 2)
    p = float(stats.wilcoxon(differences, zero_method="pratt").pvalue) if differences.any() else 1.0
    return Paired(float(np.median(differences)), better, p)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjustment: p-values that keep the chance of any false finding below their level."""
    order = np.argsort(p)
    scaled = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted.tolist()


def steps_to(loss: np.ndarray, at: np.ndarray, target: float) -> np.ndarray:
    """After how many steps each curve first reached the target, infinite for never.

    Args:
        loss: shape (n, records).
        at: the steps of the records, shape (records,).
    """
    reached = loss <= target
    return np.where(reached.any(axis=1), at[reached.argmax(axis=1)].astype(float), np.inf)
