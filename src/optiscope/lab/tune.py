"""Tune a rule on a task: quasi-random settings on many seeds, then the best of them again on fresh seeds.

The best of many settings on the seeds it was found on is partly luck: momentum tuned on 64 quadratics crosses the edge
of stability and explodes on the 65th. So the leaders are run again on seeds that the search never saw, and the winner
is chosen there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from scipy import stats
from scipy.special import gammaln

from ..errors import BadInput, unknown
from ..rules.contract import Rule, parse
from ..rules.spaces import LogUniform, OneMinusLogUniform, Space
from ..tasks.contract import Task
from .sweep import Sweep, stack, sweep

SEARCH_SEEDS, CONFIRMATION_SEEDS = 2**31, 2**31 + 2**30
LEADERS = 20
EDGE = 0.02
"""The share of a space, at either end, that counts as its edge."""
EXTENSION = 100.0
"""The factor by which a space whose edge holds the winner is extended."""
ROUNDS = 3
"""How often, at the most, the search is made: once, and again after each extension."""

SCORES: dict[str, Callable[[Sweep], np.ndarray]] = {
    "final": lambda found: found.final,
    "mean": lambda found: np.where(np.isinf(found.mean), np.inf, found.mean / found.first),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What tuning one rule on one task found."""

    task: Task
    steps: int
    score: str
    best: Rule
    """The winner of the confirmation."""
    best_score: float
    """Its score there, on seeds that the search had not seen."""
    space: dict[str, Space]
    """What was searched, extensions included."""
    settings: dict[str, np.ndarray]
    """The tuned fields of every trial of the last search, shape (trials,) each, in the order of drawing."""
    scores: np.ndarray
    """The mean score of every trial over the search seeds, infinite where a run diverged; shape (trials,)."""
    leaders: np.ndarray
    """The trials that were confirmed, best in the search first, shape (leaders,)."""
    confirmed: np.ndarray
    """Their mean scores on the fresh seeds, shape (leaders,)."""
    searches: int
    """How many searches of so many trials were made: one, and one after each extension of the space."""
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
        """The best score after k random trials, k = 1 … trials: median, 2.5 % and 97.5 % points, shape (trials, 3).

        Exact over all orders in which these trials could have come (Dodge et al., 2019, sharpened to quantiles).
        """
        return _best_after(np.sort(self.scores))

    @property
    def importance(self) -> dict[str, float]:
        """The share of the variance of the trials' ranks that each field explains alone.

        First-order sensitivity indices, estimated from the trials by ten bins a field (Plischke et al., 2013).
        """
        ranks = stats.rankdata(self.scores)
        return {field: _explained(values, ranks) for field, values in self.settings.items()}


def tune(
    rule: str | Rule,
    task: Task,
    *,
    trials: int = 2500,
    seeds: int = 128,
    steps: int | None = None,
    score: str = "final",
    space: Mapping[str, Space] | None = None,
    extend: bool = True,
    dtype: str = "float32",
    seed: int = 0,
    progress: Callable[[str, str], None] = lambda label, doing: None,
) -> Study:
    """Find a rule's best settings on a task.

    Settings are scrambled Sobol draws from the space. All are run on the same `seeds` problems; the best 20 are then
    run on as many fresh ones, and the winner is chosen there. Where it lies at the edge of a log space that can be
    extended, the space is, by a factor of 100, and searched again.

    Args:
        rule: a rule, or a text such as "adam" or "adam:b1=0.8" whose given fields stay fixed.
        trials, seeds: how many settings, and runs of each.
        steps, dtype: as in `run`.
        score: "final", the loss at the end; or "mean", the mean of the losses over the first one. Lower is better;
            a setting's score is the mean over its seeds, infinite if one diverged.
        space: what to search, by field; by default every field's declared space.
        extend: False keeps to the space and to the trials, so that rules can be given equal ones.
        seed: of the draws.
        progress: told the rule and what is being done.

    Raises:
        BadInput: an argument is invalid, or no setting ran on all seeds without diverging.
    """
    base, fixed = parse(rule) if isinstance(rule, str) else (rule, {})
    if not isinstance(base, Rule):
        raise BadInput(f"a rule is wanted, such as 'adam' or osc.Adam(), not {rule!r}")
    if score not in SCORES:
        raise BadInput(f"score must be one of {', '.join(SCORES)}, not {score!r}")
    for name, given in (("trials", trials), ("seeds", seeds)):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise BadInput(f"{name} must be a whole number ≥ 1, not {given!r}")
    searched = _space(base, fixed, space)
    compile_seconds = run_seconds = 0.0

    for round_ in range(ROUNDS):
        progress(base.name, "searching" if round_ == 0 else "searching the extended space")
        settings = _draw(searched, trials, seed + round_)
        search_seeds = range(SEARCH_SEEDS, SEARCH_SEEDS + seeds)
        search_seeds = range(SEARCH_SEEDS, SEARCH_SEEDS + seeds)
        search = sweep(_batched(base, settings), task, steps=steps, seeds=search_seeds, dtype=dtype)
        scores = SCORES[score](search).mean(axis=1)
        leaders = np.argsort(scores, kind="stable")[:LEADERS]
        progress(base.name, "confirming")
        again = {field: values[leaders] for field, values in settings.items()}
        fresh_seeds = range(CONFIRMATION_SEEDS, CONFIRMATION_SEEDS + seeds)
        fresh_seeds = range(CONFIRMATION_SEEDS, CONFIRMATION_SEEDS + seeds)
        fresh = sweep(_batched(base, again), task, steps=steps, seeds=fresh_seeds, dtype=dtype)
        confirmed = SCORES[score](fresh).mean(axis=1)
        compile_seconds += search.compile_seconds + fresh.compile_seconds
        run_seconds += search.run_seconds + fresh.run_seconds
        winner = int(np.argmin(confirmed))
        values = {field: float(v[winner]) for field, v in again.items()}
        edges = {field: side for field, v in values.items() if (side := _edge(searched[field], v))}
        wider = {field: _extended(searched[field], side) for field, side in edges.items()}
        if not extend or round_ == ROUNDS - 1 or not any(wider.values()):
            break
        searched |= {field: found for field, found in wider.items() if found}

    if np.isinf(confirmed[winner]):
        raise BadInput(
            f"no setting of {base.name} ran on all seeds of {task.name} without diverging; search smaller values, "
            "with space="
        )
    return Study(
        task=task,
        steps=task.steps if steps is None else steps,
        score=score,
        best=base.replace(**values),
        best_score=float(confirmed[winner]),
        space=searched,
        settings=settings,
        scores=scores,
        leaders=leaders,
        confirmed=confirmed,
        searches=round_ + 1,
        at_edge=tuple(edges),
        compile_seconds=compile_seconds,
        run_seconds=run_seconds,
    )


def _space(rule: Rule, fixed: Mapping[str, Any], given: Mapping[str, Space] | None) -> dict[str, Space]:
    declared = {**rule.hypers(), **rule.spaces()}
    if given is None:
        found = {f: s for f, s in rule.spaces().items() if f not in fixed}
    else:
        found = dict(given)
        for field, space in found.items():
            if field not in declared:
                raise unknown(f"hyperparameter of {rule.name}", field, declared, f"'optiscope rules {rule.name}'")
            if not isinstance(space, Space):
                raise BadInput(f"{field} needs a space, such as LogUniform(1e-4, 1.0), not {space!r}")
    if not found:
        raise BadInput(f"{rule.name} has no field left to tune")
    return found


def _draw(space: Mapping[str, Space], trials: int, seed: int) -> dict[str, np.ndarray]:
    # Sobol points are balanced in powers of two; the first of a larger set serve any number.
    points = stats.qmc.Sobol(len(space), rng=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(trials)))
    return {field: np.asarray(s.quantile(u)) for (field, s), u in zip(space.items(), points[:trials].T, strict=True)}


def _batched(base: Rule, settings: Mapping[str, np.ndarray]) -> Rule:
    """The rule with a leading axis on every leaf: the tuned fields' values, the others' repeated."""
    count = len(next(iter(settings.values())))
    return stack([base] * count).replace(**settings)


def _edge(space: Space, value: float) -> str:
    """Which end of the space a value lies at: "low", "high", or neither, ""."""
    low, high = space.quantile(EDGE), space.quantile(1 - EDGE)
    return "low" if value < low else "high" if value > high else ""


def _extended(space: Space, side: str) -> Space | None:
    """The space with one end moved out, or None where there is nothing beyond it."""
    if isinstance(space, OneMinusLogUniform):
        # Quantiles run from 1 − high to 1 − low: the upper edge, nearest to 1, is `low`'s.
        return dataclasses.replace(space, low=space.low / EXTENSION) if side == "high" else None
    if isinstance(space, LogUniform):
        moved = {"low": space.low / EXTENSION} if side == "low" else {"high": space.high * EXTENSION}
        return cast(Space, dataclasses.replace(space, **moved))
    return None


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
