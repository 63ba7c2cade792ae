"""Compare rules on a task: the same seeds for all, a learning rate chosen for each on other seeds, a test at the end.

Comparing optimizers at arbitrary defaults says nothing, so each rule's learning rate is first chosen from a log grid
over its declared space, on seeds that the comparison never uses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule, parse
from ..rules.spaces import LogUniform
from ..tasks.contract import Task
from . import statistics
from .run import Runs, run
from .sweep import stack, sweep

TUNING_SEEDS = range(2**31, 2**31 + 32)
PER_DECADE = 3
SIGNIFICANT = 0.05

Progress = Callable[[str, str], None]
"""Called with a contender's label and what is being done with it."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A rule in a comparison."""

    label: str
    rule: Rule
    chosen: bool
    """Whether the learning rate was chosen here, rather than given."""
    at_edge: bool = False
    """Whether the chosen rate is the grid's first or last, so that a better one may lie outside."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """What a comparison found of one contender. Losses are those at the end, over the evaluation seeds."""

    contender: Contender
    runs: Runs
    summary: statistics.Summary
    steps_to_target: float
    """The median over seeds; infinite where half of them never reach it."""
    reached: int
    """How many seeds reach the target."""
    against_best: statistics.Paired | None
    """None for the best itself."""
    p: float | None
    """The test's p-value after Holm's adjustment for all the tests made."""

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "best"
        return "worse" if self.p < SIGNIFICANT else "no significant difference"

    def row(self) -> dict[str, Any]:
        """The entry in plain numbers."""
        runs, s, paired = self.runs, self.summary, self.against_best
        return {
            "rule": self.contender.label,
            "lr": _plain(getattr(self.contender.rule, "lr", None)),
            "lr_chosen": self.contender.chosen,
            "lr_at_edge": self.contender.at_edge,
            **s._asdict(),
            "diverged": int(runs.diverged.sum()),
            "seeds": len(runs.seeds),
            "steps_to_target": self.steps_to_target,
            "reached_target": self.reached,
            "run_seconds": runs.run_seconds,
            "compile_seconds": runs.compile_seconds,
            "difference_from_best": paired.difference if paired else 0.0,
            "better_than_best": paired.better if paired else None,
            "p": self.p,
            "verdict": self.verdict,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Rules on one task, best first."""

    task: Task
    steps: int
    target: float
    entries: tuple[Entry, ...]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a rule, in plain numbers, best first."""
        return [entry.row() for entry in self.entries]

    @property
    def sentence(self) -> str:
        """Who wins, by how much, and whether that is significant."""
        best, *others = self.entries
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
            parts.append(f"no significant difference from {_listed(level)}")
        if worse:
            assert worse[0].against_best is not None
            parts.append(
                f"significantly better than {_listed([e.contender.label for e in worse])} "
                f"(the nearest by {worse[0].against_best.difference:.2g} in the median seed, "
                f"p {_below(max(e.p for e in worse if e.p is not None))} for each)"
            )
        return "; ".join(parts) + "."


def compare(
    rules: Sequence[str | Rule],
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    target: float | None = None,
    choose: bool = True,
    dtype: str = "float32",
    progress: Progress = lambda label, doing: None,
) -> Comparison:
    """Run every rule on the same problems, starts and batches, and compare their losses at the end.

    Args:
        rules: rules, which run as they are; or texts such as "adam" or "adam:b1=0.8", whose learning rate is chosen
            unless the text gives it.
        steps, seeds, dtype: as in `run`. Seeds from 2³¹ on are kept for the choice of learning rates.
        target: the loss that counts as reached; by default what is left when 99 % of the way from the median start
            to the optimum is gone (to the best interquartile mean found, where the optimum is not known).
        choose: False leaves every learning rate at its default.
        progress: told what is being done.

    Raises:
        BadInput: no rules, the same one twice, or an argument is invalid.
    """
    contenders = contenders_of(rules, choose)
    steps = task.steps if steps is None else steps

    pairs = []
    for contender in contenders:
        if contender.chosen:
            progress(contender.label, "choosing lr")
            contender = choose_lr(contender, task, steps, dtype)
        progress(contender.label, "running")
        pairs.append((contender, run(contender.rule, task, steps=steps, seeds=seeds, dtype=dtype)))
    return _judge(task, steps, pairs, target)


def choose_lr(contender: Contender, task: Task, steps: int, dtype: str) -> Contender:
    """The contender with the rate of the lowest mean final loss over the tuning seeds; one that diverges has ∞."""
    grid = learning_rates(contender.rule)
    scores = sweep(
        stack([contender.rule.replace(lr=lr) for lr in grid]), task, steps=steps, seeds=TUNING_SEEDS, dtype=dtype
    ).final
    order = np.lexsort((np.median(scores, axis=1), scores.mean(axis=1)))
    best = int(order[0])
    rule = contender.rule.replace(lr=grid[best])
    return dataclasses.replace(contender, rule=rule, at_edge=best in (0, len(grid) - 1))


def learning_rates(rule: Rule) -> list[float]:
    """The grid a rate is chosen from: three a decade over the rule's declared space, to two digits."""
    space = rule.hypers()["lr"]
    count = round(PER_DECADE * math.log10(space.high / space.low)) + 1
    return [float(f"{lr:.1e}") for lr in space.quantile(np.linspace(0, 1, count))]


def contenders_of(rules: Sequence[str | Rule], choose: bool) -> list[Contender]:
    """Rules and texts as contenders.

    Raises:
        BadInput: there are none, one is there twice, or a text names no rule or sets an invalid field.
    """
    contenders = [contender_of(given, choose) for given in rules]
    labels = [c.label for c in contenders]
    if not labels:
        raise BadInput("at least one rule is wanted; 'optiscope rules' lists them")
    for label in labels:
        if labels.count(label) > 1:
            raise BadInput(f"{label} is there twice; give one of them another setting")
    return contenders


def contender_of(given: str | Rule, choose: bool) -> Contender:
    """A rule or its text as a contender, whose learning rate is to be chosen where the text leaves it open.

    Raises:
        BadInput: the text names no rule or sets an invalid field.
    """
    if isinstance(given, Rule):
        return Contender(_label(given), given, chosen=False)
    rule, fields = parse(given)
    free = choose and "lr" not in fields and isinstance(rule.hypers().get("lr"), LogUniform)
    return Contender(given, rule, chosen=free)


def _label(rule: Rule) -> str:
    """The rule's name with the fields that are not at their defaults; what wraps it comes after it."""
    held, changed = "", []
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]  # every rule is a dataclass
        given = getattr(rule, field.name)
        if isinstance(given, Rule):
            held = f"{_label(given)} + "
        elif isinstance(given, dict):
            changed += [f"{name}={type(schedule).__name__}" for name, schedule in given.items()]
        elif given != field.default:
            changed.append(f"{field.name}={given}")
    return held + rule.name + (":" + ",".join(changed) if changed else "")


def _judge(task: Task, steps: int, pairs: list[tuple[Contender, Runs]], target: float | None) -> Comparison:
    finals = [runs.final for _, runs in pairs]
    summaries = [statistics.summary(final) for final in finals]
    order = sorted(range(len(pairs)), key=lambda i: (summaries[i].iqm, summaries[i].mean))
    best = order[0]
    floor = task.optimum if task.optimum is not None else summaries[best].iqm
    begun = float(np.median(pairs[best][1].loss[:, 0]))
    goal = floor + 0.01 * (begun - floor) if target is None else target

    tests = {i: statistics.paired(finals[i], finals[best]) for i in order[1:]}
    adjusted = dict(zip(tests, statistics.holm([test.p for test in tests.values()]), strict=True))
    entries = []
    for i in order:
        contender, runs = pairs[i]
        needed = np.where(runs.diverged, np.inf, statistics.steps_to(runs.loss, runs.at, goal))
        to_target, reached = float(np.median(needed)), int(np.isfinite(needed).sum())
        entries.append(Entry(contender, runs, summaries[i], to_target, reached, tests.get(i), adjusted.get(i)))
    return Comparison(task, steps, goal, tuple(entries))


def _plain(number: Any) -> float | None:
    return None if number is None else float(number)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _below(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"≤ {p:.2g}"
