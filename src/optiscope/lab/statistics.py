"""Honest numbers from a few runs. A run that diverged comes in as infinity and is never dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000
CONFIDENT = float(stats.norm.ppf(0.975))
"""How many standard errors a 95 % interval of a normal reaches to either side."""


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
    p: float
    """Of the two-sided Wilcoxon signed-rank test; 1 where no seed differs."""
    worse: bool
    """Whether the signed ranks lean to the rule's being worse. The medians and the means need not lean with them."""


class Improvement(NamedTuple):
    """How probable it is that one rule does better than another on a seed drawn anew, ties counted half."""

    probability: float
    low: float
    high: float
    """The 95 % interval."""


def summary(scores: np.ndarray) -> Summary:
    """Summarise scores, shape (n,), n ≥ 1; infinite ones are failures."""
    scores, n = scores.astype(float), len(scores)
    finite = bool(np.isfinite(scores).all())
    mean = float(scores.mean()) if finite else np.inf
    error = (float(scores.std(ddof=1) / n**0.5) if finite else np.inf) if n > 1 else np.nan
    return Summary(mean, error, float(np.median(scores)), float(iqm(scores)), *interval(scores))


def iqm(scores: np.ndarray, axis: int | None = -1) -> np.ndarray:
    """Interquartile mean (Agarwal et al., 2021): a quarter of the scores, rounded down, is left out at either end."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the interquartile mean of all scores, by a stratified bootstrap.

    Seeds are drawn anew within each task, so that every resample has all tasks (Agarwal et al., 2021). The same scores
    give the same interval.

    Args:
        scores: shape (n,), or (tasks, n).
    """
    strata = np.atleast_2d(scores)
    tasks, n = strata.shape
    if n < 2:
        return float(iqm(strata, axis=None)), float(iqm(strata, axis=None))
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, tasks, n))
    resampled = strata[np.arange(tasks)[:, None], draws].reshape(RESAMPLES, -1)
    # Not scipy.stats.bootstrap: it interpolates between order statistics, which makes NaN of two infinities.
    low, high = np.quantile(iqm(resampled), [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def paired(scores: np.ndarray, best: np.ndarray) -> Paired:
    """Compare two rules' scores on the same seeds, shapes (n,). Two failures on one seed are a tie."""
    with np.errstate(invalid="ignore"):
        differences = np.where(scores == best, 0.0, scores - best)
    p = float(stats.wilcoxon(differences, zero_method="pratt").pvalue) if differences.any() else 1.0
    ranks = np.sign(differences) * stats.rankdata(np.abs(differences))
    return Paired(float(np.median(differences)), p, bool(ranks.sum() > 0))


def improvement(scores: np.ndarray, others: np.ndarray) -> Improvement:
    """The probability that `scores`' rule does better than `others`' on a new seed, averaged over the tasks.

    Unlike a bootstrap's, the interval keeps its width where one rule is better on every seed: Wilson's (1927) on each
    task, combined over tasks as Zou & Donner (2008) combine independent estimates.

    Args:
        scores, others: shape (n,), or (tasks, n), on the same seeds.
    """
    ours, theirs = np.atleast_2d(scores), np.atleast_2d(others)
    tasks, n = ours.shape
    p = (ours < theirs).mean(axis=1) + (ours == theirs).mean(axis=1) / 2
    z2 = CONFIDENT**2 / n
    middle = (p + z2 / 2) / (1 + z2)
    reach = np.sqrt(z2 * p * (1 - p) + z2**2 / 4) / (1 + z2)
    below, above = p - (middle - reach), middle + reach - p
    average = float(p.mean())
    low, high = average - np.hypot.reduce(below) / tasks, average + np.hypot.reduce(above) / tasks
    return Improvement(average, max(0.0, float(low)), min(1.0, float(high)))


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


def anytime(loss: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The mean of each curve over its steps, by the trapezoid rule: what one has who may be stopped at any time.

    Args:
        loss: shape (n, records).
        at: the steps of the records, shape (records,).

    Returns:
        Shape (n,); infinite for a curve that is not finite all along.
    """
    finite = np.isfinite(loss).all(axis=1)
    curves = np.where(finite[:, None], loss, 0.0).astype(float)
    return np.where(finite, np.trapezoid(curves, at, axis=1) / (at[-1] - at[0]), np.inf)


def ratios(costs: np.ndarray) -> np.ndarray:
    """Each contender's cost on each problem over the least there: Dolan & Moré's (2002) performance ratios.

    Args:
        costs: shape (contenders, problems), infinite for a miss.

    Returns:
        Of that shape, ≥ 1; infinite for a miss, also where every contender missed.
    """
    least = costs.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isinf(costs), np.inf, np.where(costs == least, 1.0, costs / least))


def profile(ratios: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The performance profile: the share of problems that a contender solves within each factor of the best.

    Args:
        ratios: of one contender, shape (problems,).
        within: the factors τ ≥ 1, shape (k,).

    Returns:
        Shape (k,). At τ = 1 the share on which it is the fastest, as τ grows the share that it solves at all.
    """
    return (ratios[:, None] <= within).mean(axis=0)
