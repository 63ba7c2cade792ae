"""How a comparison finds a contender's settings: on seeds of its own, with an effort that is equal for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..rules.contract import Rule
from ..rules.spaces import Space
from ..tasks.contract import Task
from .contenders import RuleContender, learning_rates
from .sweep import stack, sweep
from .tune import SEARCH_SEEDS, Study, tune

RATE_SEEDS = range(SEARCH_SEEDS, SEARCH_SEEDS + 32)
"""On which learning rates are compared; a comparison's own seeds all lie below."""
NEIGHBOURS = np.logspace(-2, 2, 13)
"""The factors at which the sensitivity to a tuned learning rate is measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """How a contender's settings were found."""

    space: Mapping[str, Space]
    """What was searched, by field."""
    trials: int
    """How many settings were tried."""
    seeds: int
    """On how many seeds each."""
    at_edge: tuple[str, ...]
    """The fields whose chosen value is at an edge of its space, so that a better one may lie outside."""
    rates: np.ndarray
    """Learning rates that were tried with the other settings as chosen, shape (k,); none for a rule that has no lr."""
    rate_scores: np.ndarray
    """The losses at the end, infinite for a run that diverged; shape (k, seeds)."""
    study: Study | None = None
    """All trials, where all fields were tuned."""


def choose_lr(contender: RuleContender, task: Task, steps: int, dtype: str) -> tuple[RuleContender, Choice]:
    """The contender with the rate of the lowest mean final loss over 32 seeds; one that diverges has ∞."""
    grid = learning_rates(contender.rule)
    scores = _at_rates(contender.rule, grid, task, steps, dtype)
    best = int(np.lexsort((np.median(scores, axis=1), scores.mean(axis=1)))[0])
    edge = ("lr",) if best in (0, len(grid) - 1) else ()
    choice = Choice({"lr": contender.free["lr"]}, len(grid), len(RATE_SEEDS), edge, np.asarray(grid), scores)
    return dataclasses.replace(contender, rule=contender.rule.replace(lr=grid[best])), choice


def choose_all(
    contender: RuleContender, task: Task, steps: int, dtype: str, trials: int, seeds: int
) -> tuple[RuleContender, Choice]:
    """The contender with all its free fields tuned, and how much its learning rate matters there.

    Raises:
        BadInput: as `tune`.
    """
    study = tune(
        contender.rule, task, trials=trials, seeds=seeds, steps=steps, space=contender.free, extend=False, dtype=dtype
    )
    rates, scores = np.empty(0), np.empty((0, len(RATE_SEEDS)))
    if "lr" in contender.free:
        rates = study.best.numbers()["lr"] * NEIGHBOURS
        scores = _at_rates(study.best, rates, task, steps, dtype)
    choice = Choice(contender.free, trials, seeds, study.at_edge, rates, scores, study)
    return dataclasses.replace(contender, rule=study.best), choice


def _at_rates(rule: Rule, rates: Sequence[float] | np.ndarray, task: Task, steps: int, dtype: str) -> np.ndarray:
    rules = stack([rule.replace(lr=float(lr)) for lr in rates])
    return sweep(rules, task, steps=steps, seeds=RATE_SEEDS, dtype=dtype).final
