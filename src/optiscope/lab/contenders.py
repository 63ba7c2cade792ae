"""Who takes part in a comparison."""

from __future__ import annotations

import dataclasses
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule, names, parse
from ..rules.schedules import Schedule
from ..rules.spaces import LogUniform, Space
from ..rules.wrappers import Annealed, ClipByValue
from ..solvers import naming
from ..solvers.naming import METHODS
from ..solvers.walk import Method
from ..tasks.contract import Task
from .run import Runs, run
from .solving import run_solver

PER_DECADE = 3


class Contender(ABC):
    """Anything that runs on a task and can be counted in gradient evaluations. A subclass is a frozen dataclass."""

    label: str
    """What the table calls it."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its numbers, by name."""
        return {}

    @abstractmethod
    def run(self, task: Task, *, steps: int, seeds: Sequence[int], every: int, dtype: str) -> Runs:
        """Its runs, the `at` of their records counted in gradient evaluations, `steps` of them at the end."""


@dataclasses.dataclass(frozen=True)
class RuleContender(Contender):
    """A rule in a comparison."""

    label: str
    rule: Rule
    free: Mapping[str, Space] = dataclasses.field(default_factory=dict)
    """The fields that a comparison may choose, with the spaces it may choose them from."""

    @property
    def settings(self) -> dict[str, Any]:
        return self.rule.numbers()

    @property
    def chosen(self) -> bool:
        """Whether its learning rate is to be chosen, or was, in place of being given."""
        return isinstance(self.free.get("lr"), LogUniform)

    def run(self, task: Task, *, steps: int, seeds: Sequence[int], every: int, dtype: str) -> Runs:
        return run(self.rule, task, steps=steps, seeds=seeds, every=every, dtype=dtype)

    def annealed(self, steps: int) -> RuleContender:
        """The same rule with a clip and a schedule over so many steps, whose numbers are as free as its own."""
        clipped = ClipByValue(self.rule)
        wrapped = Annealed(clipped, steps) if "lr" in self.free else clipped
        added = {name: space for name, space in wrapped.spaces().items() if name not in self.rule.spaces()}
        label = f"{self.label} + clip" + (" + schedule" if "lr" in self.free else "")
        return RuleContender(label, wrapped, {**self.free, **added})


@dataclasses.dataclass(frozen=True)
class SolverContender(Contender):
    """A solver in a comparison, charged for all that it calls."""

    label: str
    method: Method

    def run(self, task: Task, *, steps: int, seeds: Sequence[int], every: int, dtype: str) -> Runs:
        return run_solver(self.method, task, steps=steps, seeds=seeds, every=every, dtype=dtype)


def learning_rates(rule: Rule) -> list[float]:
    """The grid a rate is chosen from: three a decade over the rule's declared space, to two digits."""
    space = rule.spaces()["lr"]
    count = round(PER_DECADE * np.log10(space.high / space.low)) + 1
    return [float(f"{lr:.1e}") for lr in space.quantile(np.linspace(0, 1, count))]


Given = str | Rule | Method | Contender


def contenders_of(rules: Sequence[Given] | Mapping[str, Given], choose: bool) -> list[Contender]:
    """What a comparison is given, as contenders; a mapping's keys are their labels.

    Raises:
        BadInput: there are none, one is there twice, or a text names no rule or sets an invalid field.
    """
    if isinstance(rules, Mapping):
        made = [
            dataclasses.replace(cast(Any, contender_of(given, choose)), label=label) for label, given in rules.items()
        ]
    else:
        made = [contender_of(given, choose) for given in rules]
    labels = [c.label for c in made]
    if not labels:
        raise BadInput("at least one rule is wanted; 'optiscope rules' lists them")
    for label in labels:
        if labels.count(label) > 1:
            raise BadInput(
                f"{label} is there twice; give one of them another setting, or names to both: {{'first': …, …}}"
            )
    return made


def contender_of(given: Given, choose: bool) -> Contender:
    """A rule, which runs as it is, or its text, whose fields are free where it leaves them open, as a contender.

    So is a solver's method, or its text, such as "bfgs" or "lbfgs:memory=20". A name of both, "gd", is the rule's.

    Raises:
        BadInput: the text names neither a rule nor a solver, or sets an invalid field; or `given` is none of them.
    """
    if isinstance(given, Contender):
        return given
    if isinstance(given, Rule):
        return RuleContender(label_of(given), given)
    if isinstance(given, Method):
        return SolverContender(repr(given), given)
    if not isinstance(given, str):
        raise BadInput(f"a rule is wanted, such as 'adam' or osc.Adam(lr=1e-3), not {given!r}")
    name = given.partition(":")[0].lower()
    if name in METHODS and name not in names():
        return SolverContender(given, naming.parse(given))
    rule, fields = parse(given)
    free = {name: space for name, space in rule.spaces().items() if name not in fields}
    return RuleContender(given, rule, free if choose else {})


def label_of(rule: Rule) -> str:
    """The rule's name with the fields that are not at their defaults; what wraps it comes after it.

    A learned rule's weights, and all else that is no short text, are left out.
    """
    held, changed = "", []
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]  # every rule is a dataclass
        given = getattr(rule, field.name)
        if isinstance(given, Rule):
            held = f"{label_of(given)} + "
        elif isinstance(given, dict):
            changed += [f"{name}={type(s).__name__}" for name, s in given.items() if isinstance(s, Schedule)]
        elif _is_short(given) and given != field.default:
            changed.append(f"{field.name}={getattr(given, '__name__', given)}")
    return held + rule.name + (":" + ",".join(changed) if changed else "")


def _is_short(given: Any) -> bool:
    if isinstance(given, tuple):
        return all(map(_is_short, given))
    return given is None or isinstance(given, str | numbers.Number | type)
