"""How a comparison finds a contender's settings: on seeds of its own, with an effort that is equal for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

import numpy as np

from ..rules.contract import Rule
from ..rules.spaces import Space
from ..tasks.contract import Task
from .contenders import Contender, RuleContender, learning_rates
from .finish import Share, Where
from .sweep import stack, sweep
from .tune import SEARCH_SEEDS, Study, runs_of, tune

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


@dataclasses.dataclass(frozen=True)
class Chooser:
    """Finds every contender's settings with the same effort.

    `trials` is None where learning rates alone are chosen, from their grids.
    """

    task: Task
    steps: int
    dtype: str
    trials: int | None
    seeds: int
    halving: bool
    store: Where
    executor: Executor | None

    @property
    def doing(self) -> str:
        """What it does, for a bar of progress."""
        return "choosing lr" if self.trials is None else f"tuning, {self.trials} trials"

    def size(self, contender: Contender) -> int:
        """How many runs it takes to find this contender's settings."""
        if not isinstance(contender, RuleContender) or not contender.free:
            return 0
        if self.trials is None:
            return len(RATE_SEEDS) * len(learning_rates(contender.rule)) if contender.chosen else 0
        return self._search + len(RATE_SEEDS) * len(NEIGHBOURS)

    @property
    def _search(self) -> int:
        return runs_of(self.trials or 0, self.seeds, self.halving)

    def choose(self, contender: RuleContender, share: Share) -> tuple[RuleContender, Choice | None]:
        """The contender with its settings chosen, and how; or as it is, where it leaves none open.

        Raises:
            BadInput: as `tune`, or the store cannot be used.
        """
        if self.trials is not None and contender.free:
            return self._all(contender, self.trials, share)
        if self.trials is None and contender.chosen:
            return self._lr(contender, share)
        return contender, None

    def _lr(self, contender: RuleContender, share: Share) -> tuple[RuleContender, Choice]:
        """The rate of the lowest mean loss at the end, the lowest median among equals; one that diverges has ∞."""
        grid = learning_rates(contender.rule)
        scores = self._at_rates(contender.rule, grid, share)
        best = int(np.lexsort((np.median(scores, axis=1), scores.mean(axis=1)))[0])
        edge = ("lr",) if best in (0, len(grid) - 1) else ()
        choice = Choice({"lr": contender.free["lr"]}, len(grid), len(RATE_SEEDS), edge, np.asarray(grid), scores)
        return dataclasses.replace(contender, rule=contender.rule.replace(lr=grid[best])), choice

    def _all(self, contender: RuleContender, trials: int, share: Share) -> tuple[RuleContender, Choice]:
        """All free fields tuned, and how much the learning rate matters there."""
        searching = self._search / self.size(contender)
        study = tune(
            contender.rule,
            self.task,
            trials=trials,
            seeds=self.seeds,
            steps=self.steps,
            space=contender.free,
            extend=False,
            halving=self.halving,
            dtype=self.dtype,
            store=self.store,
            executor=self.executor,
            progress=lambda label, doing, done: share(searching * done),
        )
        rates, scores = np.empty(0), np.empty((0, len(RATE_SEEDS)))
        if "lr" in contender.free:
            rates = study.best.numbers()["lr"] * NEIGHBOURS
            scores = self._at_rates(study.best, rates, lambda done: share(searching + (1 - searching) * done))
        choice = Choice(contender.free, trials, self.seeds, study.at_edge, rates, scores, study)
        return dataclasses.replace(contender, rule=study.best), choice

    def _at_rates(self, rule: Rule, rates: Sequence[float] | np.ndarray, share: Share) -> np.ndarray:
        """The losses at the end at each rate, shape (rates, seeds)."""
        rules = stack([rule.replace(lr=float(lr)) for lr in rates])
        found = sweep(
            rules,
            self.task,
            steps=self.steps,
            seeds=RATE_SEEDS,
            dtype=self.dtype,
            store=self.store,
            executor=self.executor,
            share=share,
        )
        return found.final
