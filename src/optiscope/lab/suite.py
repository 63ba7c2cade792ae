"""Comparisons of the same contenders on several tasks, taken together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import BadInput
from . import statistics
from .compare import Comparison, listed


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """The same contenders on several tasks.

    A score that tasks have in common is the share of the loss left: 0 at the least loss there is (where that is not
    known, at the least that anybody reached on any seed) and 1 at the start. A run that diverged has ∞.
    """

    comparisons: tuple[Comparison, ...]
    labels: tuple[str, ...]
    """The contenders, the lowest interquartile mean of the scores first."""
    scores: np.ndarray
    """Shape (contenders, tasks, seeds)."""
    costs: np.ndarray
    """The gradient evaluations to each task's target, infinite for a miss; shape (contenders, tasks · seeds)."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a contender, in plain numbers, best first; a task weighs as much as any other."""
        rows = []
        ratios = statistics.ratios(self.costs)
        for i, label in enumerate(self.labels):
            low, high = statistics.interval(self.scores[i])
            better = statistics.improvement(self.scores[0], self.scores[i]) if i else None
            rows.append(
                {
                    "rule": label,
                    "iqm": float(statistics.iqm(self.scores[i], axis=None)),
                    "low": low,
                    "high": high,
                    "fastest": float((ratios[i] == 1).mean()),
                    "reached": float(np.isfinite(self.costs[i]).mean()),
                    "best_is_better": better._asdict() if better else None,
                    "verdict": _verdict(better),
                }
            )
        return rows

    @property
    def sentence(self) -> str:
        """Who wins over all tasks, and over whom that is sure."""
        best, *others = self.table
        lead = (
            f"over {len(self.comparisons)} tasks {best['rule']} leaves the least of the loss: interquartile mean "
            f"{best['iqm']:.3g} of it (95 % interval {best['low']:.3g} to {best['high']:.3g})"
        )
        parts = [lead]
        for verdict, words in (
            ("no significant difference", "no significant difference from {}"),
            ("worse", "on a new seed more probably better than {}"),
            ("better", "and yet on a new seed more probably worse than {}"),
        ):
            names = [row["rule"] for row in others if row["verdict"] == verdict]
            if names:
                parts.append(words.format(listed(names)))
        return "; ".join(parts) + "."


def suite(comparisons: Sequence[Comparison]) -> Suite:
    """Take comparisons of the same contenders on several tasks together.

    Raises:
        BadInput: there are none, or they differ in their contenders or in the number of seeds.
    """
    if not comparisons:
        raise BadInput("a suite needs at least one comparison")
    labels = sorted(comparisons[0].labels)
    for comparison in comparisons:
        if sorted(comparison.labels) != labels:
            raise BadInput(
                f"a suite needs the same contenders on every task; {comparisons[0].task.name} has {listed(labels)} "
                f"and {comparison.task.name} {listed(sorted(comparison.labels))}"
            )
    if len({comparison.costs.shape for comparison in comparisons}) != 1:
        raise BadInput("a suite needs as many seeds on every task")
    scores = np.stack([_left(comparison, labels) for comparison in comparisons], axis=1)
    costs = np.concatenate([c.costs[[c.labels.index(label) for label in labels]] for c in comparisons], axis=1)
    order = sorted(range(len(labels)), key=lambda i: float(statistics.iqm(scores[i], axis=None)))
    return Suite(tuple(comparisons), tuple(labels[i] for i in order), scores[order], costs[order])


def _left(comparison: Comparison, labels: Sequence[str]) -> np.ndarray:
    """The share of the loss left, shape (contenders, seeds)."""
    runs = [comparison.entries[comparison.labels.index(label)].runs for label in labels]
    finals, begun = np.stack([r.final for r in runs]), runs[0].loss[:, 0]
    floor = comparison.task.optimum
    if floor is None:
        floor = min(float(np.nanmin(r.loss)) for r in runs)
    way = np.where(begun > floor, begun - floor, 1.0)  # who starts at the least loss has no way to go
    return (finals - floor) / way


def _verdict(better: statistics.Improvement | None) -> str:
    if better is None:
        return "best"
    if better.low > 0.5:
        return "worse"
    return "better" if better.high < 0.5 else "no significant difference"
