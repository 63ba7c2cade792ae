"""Tune a rule on a task: quasi-random settings on many seeds, then the best of them again on fresh seeds.

The best of many settings on the seeds it was found on is partly luck: momentum tuned on 64 quadratics crosses the edge
of stability and explodes on the 65th. So the leaders are run again on seeds that the search never saw, and the winner
is chosen there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, cast

import numpy as np
from scipy import stats

from ..errors import BadInput, unknown
from ..rules.contract import Rule, parse
from ..rules.spaces import LogUniform, OneMinusLogUniform, Space
from ..tasks.contract import Task
from .arguments import check
from .finish import Share, Where
from .meter import Meter, Progress
from .study import Study
from .sweep import Sweep, stack, sweep
from .work import Work

SEARCH_SEEDS, CONFIRMATION_SEEDS = 2**31, 2**31 + 2**30
LEADERS = 20
EDGE = 0.02
"""The share of a space, at either end, that counts as its edge."""
EXTENSION = 100.0
"""The factor by which a space whose edge holds the winner is extended."""
ROUNDS = 3
"""How often, at the most, the search is made: once, and again after each extension."""
FOCUS = 10 * LEADERS
"""The fewest trials of which half are drawn around the best of the others."""
KEPT = 4
"""Halving keeps one trial in so many at each rung, and runs it on so many times the seeds."""
COSTLY = 1e13
"""Floating-point operations of a whole search, about, beyond which it is halved: some minutes of two cores' time."""

SCORES: dict[str, Callable[[Sweep], np.ndarray]] = {
    "final": lambda found: found.final,
    "mean": lambda found: found.relative_mean,
}


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
    halving: bool | None = None,
    dtype: str = "float32",
    seed: int = 0,
    store: Where = None,
    executor: Executor | None = None,
    progress: Progress = lambda label, doing, share: None,
) -> Study:
    """Find a rule's best settings on a task.

    Settings are scrambled Sobol draws: half of them from the whole space, half (of 200 trials or more) from the box
    around the best 20 of those. All are run on the same `seeds` problems; the best 20 are then run on fresh ones (as
    many, or more where that costs less than a tenth of the search), and the winner is chosen there. Where it lies at
    the edge of a log space that can be extended, the space is, by a factor of 100, and searched again.

    Args:
        rule: a rule, or a text such as "adam" or "adam:b1=0.8" whose given fields stay fixed.
        trials, seeds: how many settings, and runs of each.
        steps, dtype, store, executor: as in `run`. A study that was interrupted ends, from its store, as it would have.
        score: "final", the loss at the end; or "mean", the mean of the losses over the first one. Lower is better;
            a setting's score is the mean over its seeds, infinite if one diverged.
        space: what to search, by field; by default every field's declared space.
        extend: False keeps to the space and to the trials, so that rules can be given equal ones.
        halving: run all settings on few seeds, the best quarter on four times as many, and so on (successive halving:
            Jamieson & Talwalkar, 2016). Seeds are what is saved, not steps: a short run favours other settings. By
            default only where the search would otherwise take more than `COSTLY` operations.
        seed: of the draws.
        progress: told the rule, what is being done, and what share of this search is done.

    Raises:
        BadInput: an argument is invalid, no setting ran on all seeds without diverging, or the store cannot be used.
    """
    base, fixed = parse(rule) if isinstance(rule, str) else (rule, {})
    if not isinstance(base, Rule):
        raise BadInput(f"a rule is wanted, such as 'adam' or osc.Adam(), not {rule!r}")
    if score not in SCORES:
        raise BadInput(f"score must be one of {', '.join(SCORES)}, not {score!r}")
    for name, given in (("trials", trials), ("seeds", seeds)):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise BadInput(f"{name} must be a whole number ≥ 1, not {given!r}")
    searched = searched_space(base, fixed, space)
    judge = _Judge(base, task, steps, score, dtype, store, executor)
    halves, best, best_score = halves_of(trials), base, np.inf
    halved = costly(base, task, trials, seeds, steps, dtype) if halving is None else halving

    for round_ in range(ROUNDS):
        meter = Meter(progress, runs_of(trials, seeds, halved))
        low, high = np.zeros(len(searched)), np.ones(len(searched))
        points, scores, seen = np.empty((0, len(searched))), np.empty(0), np.empty(0, int)
        for half, count in enumerate(halves):
            drawn = low + (high - low) * _draw(len(searched), count, [seed + round_, half])
            doing = "searching" + (" around the best" if half else " the extended space" if round_ else "")
            pieces = functools.partial(meter.piece, base.name, doing)
            found, ran = _halved(judge, _settings(searched, drawn), rungs_of(count, seeds, halved), pieces)
            points, scores, seen = np.vstack([points, drawn]), np.append(scores, found), np.append(seen, ran)
            ended = np.flatnonzero(seen == seeds)
            leaders = ended[np.argsort(scores[ended], kind="stable")[:LEADERS]]
            low, high = points[leaders].min(axis=0), points[leaders].max(axis=0)
        settings = _settings(searched, points)

        again = {field: values[leaders] for field, values in settings.items()}
        fresh = fresh_seeds(trials, seeds, halved)
        share = meter.piece(base.name, "confirming", len(leaders) * fresh)
        confirmed = judge(again, range(CONFIRMATION_SEEDS, CONFIRMATION_SEEDS + fresh), share).mean(axis=1, dtype=float)
        winner = int(np.argmin(confirmed))
        values = {field: float(v[winner]) for field, v in again.items()}
        if confirmed[winner] <= best_score:
            best, best_score = base.replace(**values), float(confirmed[winner])
        edges = {field: side for field, v in values.items() if (side := _edge(searched[field], v))}
        wider = {field: _extended(searched[field], side) for field, side in edges.items()}
        if not extend or round_ == ROUNDS - 1 or not any(wider.values()):
            break
        searched |= {field: found for field, found in wider.items() if found}

    if np.isinf(best_score):
        raise BadInput(
            f"no setting of {base.name} ran on all seeds of {task.name} without diverging; search smaller values, "
            "with space="
        )
    return Study(
        task=task,
        steps=task.steps if steps is None else steps,
        score=score,
        best=best,
        best_score=best_score,
        space=searched,
        settings=settings,
        scores=scores,
        seen=seen,
        broad=halves[0],
        leaders=leaders,
        confirmed=confirmed,
        fresh=fresh,
        searches=round_ + 1,
        halved=halved,
        at_edge=tuple(edges),
        compile_seconds=judge.compile_seconds,
        run_seconds=judge.run_seconds,
    )


def halves_of(trials: int) -> list[int]:
    """How many trials are drawn from the whole space, and how many around the best of those."""
    return [trials] if trials < FOCUS else [trials - trials // 2, trials // 2]


def costly(rule: Rule, task: Task, trials: int, seeds: int, steps: int | None, dtype: str) -> bool:
    """Whether all trials on all seeds would take more than `COSTLY` operations."""
    total, listed = check(rule, task, steps, seeds, dtype)
    one = Work(stack([rule]), 1, task, listed, total, total, dtype)
    return trials * one.size * one.operations() > COSTLY


def rungs_of(trials: int, seeds: int, halving: bool) -> list[tuple[int, int]]:
    """How many trials are alive at each rung of a search, and on how many seeds they have run at its end."""
    times = 0
    while halving and KEPT ** (times + 1) <= seeds and -(-trials // KEPT ** (times + 1)) >= LEADERS:
        times += 1
    return [(-(-trials // KEPT**i), -(-seeds // KEPT ** (times - i))) for i in range(times + 1)]


def fresh_seeds(trials: int, seeds: int, halving: bool = False) -> int:
    """On how many fresh seeds the leaders are run: they differ by less than the search's seeds can tell apart."""
    return seeds * max(1, _searched(trials, seeds, halving) // (10 * LEADERS * seeds))


def runs_of(trials: int, seeds: int, halving: bool = False) -> int:
    """How many runs one search and its confirmation are."""
    return _searched(trials, seeds, halving) + min(trials, LEADERS) * fresh_seeds(trials, seeds, halving)


def _searched(trials: int, seeds: int, halving: bool) -> int:
    """How many runs one search is."""
    search = 0
    for count in halves_of(trials):
        before = 0
        for alive, upto in rungs_of(count, seeds, halving):
            search, before = search + alive * (upto - before), upto
    return search


def _halved(
    judge: _Judge, settings: Mapping[str, np.ndarray], rungs: list[tuple[int, int]], pieces: Callable[[float], Share]
) -> tuple[np.ndarray, np.ndarray]:
    """Each setting's mean score over the seeds it ran on, and how many those were."""
    trials = len(next(iter(settings.values())))
    alive, sums, seen, before = np.arange(trials), np.zeros(trials), np.zeros(trials, int), 0
    for count, upto in rungs:
        alive = alive[np.argsort(sums[alive], kind="stable")[:count]]
        new = range(SEARCH_SEEDS + before, SEARCH_SEEDS + upto)
        share = pieces(count * (upto - before))
        sums[alive] += judge({f: v[alive] for f, v in settings.items()}, new, share).sum(axis=1, dtype=float)
        seen[alive] = before = upto
    return sums / seen, seen


@dataclasses.dataclass
class _Judge:
    """Scores settings on seeds, and keeps the clocks."""

    base: Rule
    task: Task
    steps: int | None
    score: str
    dtype: str
    store: Where
    executor: Executor | None
    compile_seconds: float = 0.0
    run_seconds: float = 0.0

    def __call__(self, settings: Mapping[str, np.ndarray], seeds: range, share: Share) -> np.ndarray:
        found = sweep(
            _batched(self.base, settings), self.task, steps=self.steps, seeds=seeds, dtype=self.dtype,
            store=self.store, executor=self.executor, share=share,
        )  # fmt: skip
        self.compile_seconds += found.compile_seconds
        self.run_seconds += found.run_seconds
        return SCORES[self.score](found)


def searched_space(rule: Rule, fixed: Mapping[str, Any], given: Mapping[str, Space] | None) -> dict[str, Space]:
    """What to search: the spaces given, or those declared of all fields that are set and not fixed.

    Raises:
        BadInput: a field is unknown, its space is none, or no field is left.
    """
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


def _draw(fields: int, trials: int, seed: list[int]) -> np.ndarray:
    """Points of the unit cube, shape (trials, fields)."""
    # Sobol points are balanced in powers of two; the first of a larger set serve any number.
    points = stats.qmc.Sobol(fields, rng=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(trials)))
    return points[:trials]


def _settings(space: Mapping[str, Space], points: np.ndarray) -> dict[str, np.ndarray]:
    return {field: np.asarray(s.quantile(u)) for (field, s), u in zip(space.items(), points.T, strict=True)}


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
