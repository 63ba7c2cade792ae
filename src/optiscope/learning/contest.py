"""A learned rule against tuned ones, as in the paper: the loss along the run, on problems that nobody has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from ..lab.contenders import RuleContender, contender_of
from ..lab.finish import Where
from ..lab.run import Runs, run
from ..lab.statistics import Summary, summary
from ..lab.tune import tune
from ..rules.contract import Rule
from ..tasks.contract import Task

BASELINES = ("momentum", "rmsprop", "adam")
RESAMPLES = 10_000
LONGER = 5
"""How many times the horizon the rules are run too, to see what becomes of them beyond their training."""

Progress = Callable[[str, str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One rule in a contest."""

    label: str
    rule: Rule
    runs: Runs
    longer: Runs
    """The same seeds for `LONGER` times as many steps."""

    @property
    def scores(self) -> np.ndarray:
        """Of each run; shape (seeds,)."""
        return self.runs.relative_mean


@dataclasses.dataclass(frozen=True, eq=False)
class Contest:
    """Learned rules and tuned baselines on the same unseen problems."""

    task: Task
    steps: int
    learned: tuple[Side, ...]
    baselines: tuple[Side, ...]
    trials: int

    @property
    def best_baseline(self) -> Side:
        """The baseline with the lowest mean score."""
        return min(self.baselines, key=lambda side: (side.scores.mean(), np.median(side.scores)))

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a rule in plain numbers: its scores, how many seeds diverged, what it ends at, also much later.

        `gain` is how much lower than the best baseline's a learned rule's mean score is, over the seeds that they
        share, with its 95 % paired bootstrap interval.
        """
        return [self._row(side) for side in (*self.learned, *self.baselines)]

    @property
    def sentence(self) -> str:
        """Which rule is best, and whether each learned one is better than the best tuned one."""
        best = self.best_baseline
        parts = [f"the best of {len(self.baselines)} tuned baselines is {best.label}, {best.scores.mean():.4g}"]
        for side in self.learned:
            more, low, high = gain(side.scores, best.scores)
            found = "better" if low > 0 else "worse" if high < 0 else "no significant difference"
            by = f" by {more:.3g} (95 % interval {low:.3g} to {high:.3g})" if np.isfinite(more) else ""
            parts.append(f"{side.label} comes to {side.scores.mean():.4g}, {found}{by}")
            if failed := int(side.runs.diverged.sum()):
                parts.append(f"{failed} of its runs diverged")
        return "; ".join(parts) + "."

    def _row(self, side: Side) -> dict[str, Any]:
        s: Summary = summary(side.scores)
        row = {
            "rule": side.label,
            **s._asdict(),
            "diverged": int(side.runs.diverged.sum()),
            "final_median": float(np.median(side.runs.final)),
            "longer_final_median": float(np.median(side.longer.final)),
            "longer_diverged": int(side.longer.diverged.sum()),
        }
        if side in self.learned:
            row["gain"], row["gain_low"], row["gain_high"] = gain(side.scores, self.best_baseline.scores)
        return row


def gain(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """theirs − ours in the mean over shared seeds, with the 95 % interval of a paired bootstrap; shapes (n,).

    A failure is ∞: with one of ours the gain is −∞, with one of theirs, but none of ours, +∞.
    """
    if not np.isfinite(ours).all():
        return -np.inf, -np.inf, -np.inf
    if not np.isfinite(theirs).all():
        return np.inf, np.inf, np.inf
    differences = theirs - ours
    draws = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def contest(
    rules: Mapping[str, Rule],
    task: Task,
    *,
    baselines: Sequence[str] = BASELINES,
    trials: int = 2500,
    tuning_seeds: int = 128,
    halving: bool = False,
    with_schedule: bool = True,
    steps: int | None = None,
    seeds: int = 128,
    every: int = 1,
    store: Where = None,
    executor: Executor | None = None,
    progress: Progress = lambda label, doing: None,
) -> Contest:
    """Run learned rules, and baselines tuned for the same score, on problems that neither has met.

    The score of a run is the mean of its losses over the first (Maheswaranathan et al., 2021). Baselines are tuned with
    `trials` settings on `tuning_seeds` seeds each (`halving`, as in `tune`, drops the worst before) and confirmed on
    others; with `with_schedule` each stands there again with a clip and a schedule that were tuned too, for a learned
    rule owns both.

    Args:
        rules: the learned rules, by label.
        steps: as in `run`; `seeds`: how many.
        every: record the loss once in so many steps.

    Raises:
        BadInput: as `tune` and `run`.
    """
    steps = task.steps if steps is None else steps

    def side(label: str, rule: Rule) -> Side:
        progress(label, "running")
        now, later = (
            run(rule, task, steps=n * steps, seeds=seeds, every=n * every, store=store, executor=executor)
            for n in (1, LONGER)
        )
        return Side(label, rule, now, later)

    def tuned(text: str, annealed: bool) -> Side:
        contender = contender_of(text, True)
        assert isinstance(contender, RuleContender)
        contender = contender.annealed(steps) if annealed else contender
        progress(contender.label, "tuning")
        study = tune(
            contender.rule, task, trials=trials, seeds=tuning_seeds, steps=steps, score="mean", space=contender.free,
            extend=False, halving=halving, store=store, executor=executor,
        )  # fmt: skip
        return side(contender.label, study.best)

    sides = [tuned(text, annealed) for annealed in ((False, True) if with_schedule else (False,)) for text in baselines]
    return Contest(task, steps, tuple(side(*each) for each in rules.items()), tuple(sides), trials)
