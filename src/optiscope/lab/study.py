"""What tuning found, and what can be read from all its trials."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import gammaln

from ..rules.contract import Rule
from ..rules.spaces import Space
from ..tasks.contract import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What tuning one rule on one task found."""

    task: Task
    steps: int
    score: str
    best: Rule
    """The winner of the confirmation; after several searches, of all of them."""
    best_score: float
    """Its score there, on seeds that the search had not seen."""
    space: dict[str, Space]
    """What was searched, extensions included."""
    settings: dict[str, np.ndarray]
    """The tuned fields of every trial of the last search, shape (trials,) each, in the order of drawing."""
    scores: np.ndarray
    """The mean score of every trial over the search seeds it ran on, infinite where a run diverged; shape (trials,)."""
    seen: np.ndarray
    """On how many search seeds every trial ran: on all, unless halving dropped it before; shape (trials,)."""
    broad: int
    """How many of the trials, the first, were drawn from the whole space; the others lie around the best of those."""
    leaders: np.ndarray
    """The trials that were confirmed, best in the search first, shape (leaders,)."""
    confirmed: np.ndarray
    """Their mean scores on the fresh seeds, shape (leaders,)."""
    fresh: int
    """How many fresh seeds there were."""
    searches: int
    """How many searches of so many trials were made: one, and one after each extension of the space."""
    halved: bool
    """Whether bad trials ran on fewer seeds."""
    at_edge: tuple[str, ...]
    """Fields whose winning value lies at an edge that was not, or could no longer be, extended."""
    compile_seconds: float
    run_seconds: float

    @property
    def trials(self) -> list[dict[str, float]]:
        """A row a trial: its settings, its score, and its confirmed score (NaN where it was no leader)."""
        again = dict(zip(self.leaders.tolist(), self.confirmed.tolist(), strict=True))
        rows = []
        for i, score in enumerate(self.scores):
            setting = {field: float(values[i]) for field, values in self.settings.items()}
            rows.append({**setting, "score": float(score), "confirmed": again.get(i, np.nan)})
        return rows

    @property
    def best_after(self) -> np.ndarray:
        """The best score after k random trials, k = 1 … broad: median, 2.5 % and 97.5 % points, shape (broad, 3).

        Exact over all orders in which these trials could have come (Dodge et al., 2019, sharpened to quantiles).
        """
        return _best_after(np.sort(self.scores[: self.broad]))

    @property
    def importance(self) -> dict[str, float]:
        """The share of the variance of the ranks of the trials from the whole space that each field explains alone.

        First-order sensitivity indices, estimated from the trials by ten bins a field (Plischke et al., 2013).
        """
        ranks = stats.rankdata(self.scores[: self.broad])
        return {field: _explained(values[: self.broad], ranks) for field, values in self.settings.items()}


def _best_after(ordered: np.ndarray) -> np.ndarray:
    n = len(ordered)
    k = np.arange(1, n + 1)
    found = np.empty((n, 3))
    # P(best of k > the i-th score) = C(n − i, k) / C(n, k), falling in i: a quantile is a search in it.
    for column, q in enumerate((0.5, 0.025, 0.975)):
        low, high = np.ones(n, int), n - k + 1
        while (low < high).any():
            middle = (low + high) // 2
            beyond = _log_choose(n - middle, k) - _log_choose(n, k)
            enough = beyond <= math.log(1 - q)
            low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
        found[:, column] = ordered[low - 1]
    return found


def _log_choose(n: Any, k: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(k > n, -np.inf, gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1))


def _explained(values: np.ndarray, ranks: np.ndarray) -> float:
    bins = np.array_split(np.argsort(values, kind="stable"), min(10, len(values)))
    means = np.array([ranks[b].mean() for b in bins])
    weights = np.array([len(b) for b in bins]) / len(ranks)
    spread = ranks.var()
    return float((weights * (means - ranks.mean()) ** 2).sum() / spread) if spread > 0 else 0.0
