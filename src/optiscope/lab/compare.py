"""Compare rules on a task: the same seeds for all, settings chosen for each on other seeds, a test at the end.

Comparing optimizers at arbitrary defaults says nothing, so each rule's learning rate is first chosen from a log grid
over its declared space, or all its fields are tuned with as many trials as every other rule's, on seeds that the
comparison never uses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from ..errors import BadInput
from ..rules.spaces import Space
from ..tasks.contract import Task
from . import statistics
from .arguments import seeds_of, steps_of
from .choice import Choice, Chooser
from .contenders import Contender, Given, RuleContender, contenders_of
from .environment import environment
from .finish import Where
from .meter import Meter, Progress
from .run import Runs, run_each
from .tune import SEARCH_SEEDS, costly

SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """What a comparison found of one contender. Losses are over the evaluation seeds."""

    contender: Contender
    choice: Choice | None
    """How its settings were found; None where they were given."""
    runs: Runs
    summary: statistics.Summary
    """Of the loss at the end."""
    anytime: statistics.Summary
    """Of the mean loss over the run."""
    needed: np.ndarray
    """The gradient evaluations to the target, infinite for a seed that never reached it or diverged; shape (seeds,)."""
    against_best: statistics.Paired | None
    """None for the best itself."""
    improvement: statistics.Improvement | None
    """The best over this one."""
    p: float | None
    """The test's p-value after Holm's adjustment for all the tests made."""

    @property
    def verdict(self) -> str:
        """What the test says of it against the best: "worse", "no significant difference" or, where the best has the
        lowest interquartile mean and yet loses the pairs that weigh, "better"; of the best itself, "best"."""
        if self.p is None or self.against_best is None:
            return "best"
        if self.p >= SIGNIFICANT:
            return "no significant difference"
        return "worse" if self.against_best.worse else "better"

    def row(self) -> dict[str, Any]:
        """The entry in plain numbers."""
        runs, choice, better = self.runs, self.choice, self.improvement
        settings = {name: _plain(number) for name, number in self.contender.settings.items()}
        return {
            "rule": self.contender.label,
            "lr": settings.get("lr"),
            "lr_chosen": choice is not None and "lr" in choice.space,
            "settings": settings,
            "space": {name: space_text(space) for name, space in choice.space.items()} if choice else {},
            "trials": choice.trials if choice else 0,
            "halved": choice is not None and choice.study is not None and choice.study.halved,
            "at_edge": list(choice.at_edge) if choice else [],
            **self.summary._asdict(),
            "anytime_mean": self.anytime.mean,
            "anytime_iqm": self.anytime.iqm,
            "diverged": int(runs.diverged.sum()),
            "seeds": len(runs.seeds),
            "steps_to_target": float(np.median(self.needed)),
            "reached_target": int(np.isfinite(self.needed).sum()),
            "evaluations": int(runs.at[-1]),
            "metrics": {name: float(values[:, -1].mean()) for name, values in runs.metrics.items()},
            "run_seconds": runs.run_seconds,
            "compile_seconds": runs.compile_seconds,
            "difference_from_best": self.against_best.difference if self.against_best else 0.0,
            "best_is_better": better._asdict() if better else None,
            "p": self.p,
            "verdict": self.verdict,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Rules on one task, best first."""

    task: Task
    steps: int
    """The gradient evaluations that every run had."""
    target: float
    dtype: str
    entries: tuple[Entry, ...]
    environment: Mapping[str, Any]
    """What it ran on: versions, device, threads."""

    @property
    def labels(self) -> list[str]:
        """The contenders' labels, best first."""
        return [entry.contender.label for entry in self.entries]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a rule, in plain numbers, best first."""
        return [entry.row() for entry in self.entries]

    @property
    def costs(self) -> np.ndarray:
        """The gradient evaluations to the target, infinite for a miss; shape (contenders, seeds)."""
        return np.stack([entry.needed for entry in self.entries])

    @property
    def sentence(self) -> str:
        """Who wins, by how much, and whether that is significant."""
        best, *others = self.entries
        if np.isinf(best.summary.iqm):
            return f"no rule has a finite interquartile mean of the loss after {self.steps} steps: too many diverged."
        lead = (
            f"{best.contender.label} has the lowest loss after {self.steps} steps: interquartile mean "
            f"{best.summary.iqm:.6g} (95 % interval {best.summary.low:.6g} to {best.summary.high:.6g})"
        )
        if not others:
            return f"{lead}."
        level = [e.contender.label for e in others if e.verdict == "no significant difference"]
        worse = [e for e in others if e.verdict == "worse"]
        parts = [lead]
        if level:
            parts.append(f"no significant difference from {listed(level)}")
        if worse:
            assert worse[0].against_best is not None
            parts.append(
                f"significantly better than {listed([e.contender.label for e in worse])} "
                f"(the nearest by {worse[0].against_best.difference:.2g} in the median seed, "
                f"p {_below(max(e.p for e in worse if e.p is not None))} for each)"
            )
        better = [e.contender.label for e in others if e.verdict == "better"]
        if better:
            parts.append(f"and yet, seed against seed, significantly worse than {listed(better)}")
        return "; ".join(parts) + "."


def compare(
    rules: Sequence[Given] | Mapping[str, Given],
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    target: float | None = None,
    choose: bool = True,
    tune: int | None = None,
    tuning_seeds: int = 128,
    halving: bool | None = None,
    with_schedule: bool = False,
    every: int = 1,
    dtype: str = "float32",
    store: Where = None,
    executor: Executor | None = None,
    progress: Progress = lambda label, doing, share: None,
) -> Comparison:
    """Run every rule on the same problems, starts and batches, for as many gradient evaluations, and compare them.

    Args:
        rules: rules, which run as they are; or texts such as "adam" or "adam:b1=0.8", whose learning rate is chosen
            unless the text gives it; solvers, or theirs; or a mapping from labels to them.
        steps, seeds, every, dtype, store, executor: as in `run`. Seeds from 2³¹ on are kept for the choice of settings.
        target: the loss that counts as reached; by default what is left when 99 % of the way from the median start
            to the optimum is gone (to the best interquartile mean found, where the optimum is not known).
        choose: False leaves every setting at its default.
        tune: with how many trials to tune every field that a text leaves open, the same number for each rule, in
            place of choosing its learning rate alone.
        tuning_seeds, halving: on how many seeds each trial runs, and whether bad ones on fewer, as in `tune`; by
            default all rules' or none's are halved.
        with_schedule: tune a clip and a schedule (`Annealed`) together with each text's fields, as a learned rule owns
            both.
        progress: told what is being done, and what share of all is done.

    Raises:
        BadInput: no rules, the same one twice, or an argument is invalid; or as `tune`.
    """
    contenders = contenders_of(rules, choose)
    steps, listed_seeds = steps_of(task, steps), seeds_of(seeds)
    if listed_seeds.max() >= SEARCH_SEEDS:
        raise BadInput(f"seeds from 2³¹ = {SEARCH_SEEDS} on are kept for tuning; choose smaller ones")
    if target is not None and not math.isfinite(target):
        raise BadInput(f"target must be a finite loss, not {target!r}; leave it out for the task's own")
    if tune is not None and not choose:
        raise BadInput("choose=False leaves every setting at its default, so tune= has nothing to do; give one of both")
    if with_schedule and tune is None:
        raise BadInput("a schedule and a clip have to be tuned: give with_schedule a number of trials, tune=")
    if with_schedule:
        contenders = [c.annealed(steps) if isinstance(c, RuleContender) and c.free else c for c in contenders]

    if halving is None and tune is not None:
        tuned = [c.rule for c in contenders if isinstance(c, RuleContender) and c.free]
        halving = any(costly(rule, task, tune, tuning_seeds, steps, dtype) for rule in tuned)
    chooser = Chooser(task, steps, dtype, tune, tuning_seeds, bool(halving), store, executor)
    sizes = [chooser.size(contender) for contender in contenders]
    meter = Meter(progress, sum(sizes) + len(contenders) * len(listed_seeds))
    found = []
    for contender, size in zip(contenders, sizes, strict=True):
        share = meter.piece(contender.label, chooser.doing, size)
        found.append(chooser.choose(contender, share) if isinstance(contender, RuleContender) else (contender, None))

    # The rules' runs together, so that an executor has all of them to do at a time.
    ruled = [contender for contender, _ in found if isinstance(contender, RuleContender)]
    share = meter.piece("all rules", "running", len(ruled) * len(listed_seeds))
    ask: dict[str, Any] = {"steps": steps, "seeds": listed_seeds.tolist(), "every": every, "dtype": dtype}
    runs = iter(run_each([c.rule for c in ruled], task, **ask, store=store, executor=executor, share=share))
    entered: list[tuple[Contender, Choice | None, Runs]] = []
    for contender, choice in found:
        if isinstance(contender, RuleContender):
            entered.append((contender, choice, next(runs)))
        else:
            share = meter.piece(contender.label, "running", len(listed_seeds))
            entered.append((contender, choice, contender.run(task, **ask)))
            share(1.0)
    return judged(task, steps, dtype, entered, target)


def judged(
    task: Task,
    steps: int,
    dtype: str,
    entered: Sequence[tuple[Contender, Choice | None, Runs]],
    target: float | None = None,
) -> Comparison:
    """A comparison of runs that are there: contenders, how each was set, and its runs on the same seeds."""
    finals = [runs.final for _, _, runs in entered]
    summaries = [statistics.summary(final) for final in finals]
    order = sorted(range(len(entered)), key=lambda i: (summaries[i].iqm, summaries[i].mean))
    best = order[0]
    floor = task.optimum if task.optimum is not None else summaries[best].iqm
    begun = float(np.median(entered[best][2].loss[:, 0]))
    goal = floor + 0.01 * (begun - floor) if target is None else target

    tests = {i: statistics.paired(finals[i], finals[best]) for i in order[1:]}
    adjusted = dict(zip(tests, statistics.holm([test.p for test in tests.values()]), strict=True))
    entries = []
    for i in order:
        contender, choice, runs = entered[i]
        entries.append(
            Entry(
                contender=contender,
                choice=choice,
                runs=runs,
                summary=summaries[i],
                anytime=statistics.summary(np.where(runs.diverged, np.inf, statistics.anytime(runs.loss, runs.at))),
                needed=np.where(runs.diverged, np.inf, statistics.steps_to(runs.loss, runs.at, goal)),
                against_best=tests.get(i),
                improvement=statistics.improvement(finals[best], finals[i]) if i != best else None,
                p=adjusted.get(i),
            )
        )
    return Comparison(task, steps, goal, dtype, tuple(entries), environment())


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def space_text(space: Space) -> str:
    """A space as its call."""
    return f"{type(space).__name__}({space.low:g}, {space.high:g})"


def _plain(number: Any) -> Any:
    return float(number) if np.ndim(number) == 0 and number is not None else None


def _below(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"≤ {p:.2g}"
