"""What the page may ask for: each request read into a value, everything in it checked and bounded."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ... import rules, tasks
from ...errors import BadInput, unknown
from ...learning.zoo import load, zoo
from ...rules.contract import Rule
from ...solvers.formula import Formula
from ...tasks.contract import factory
from ...tasks.landscapes import Landscape

RULES, STEPS, STARTS = 8, 2000, 64
"""The most that one request may ask for."""
FORMULA = 200
"""Characters a typed landscape may have: the longest still compiles within a second."""

Facts = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Descent:
    """Rules on a landscape from some starts, all under the same noise."""

    landscape: Landscape
    """The landscape, its noise included."""
    formula: str | None
    """What was typed, where the landscape was."""
    rules: tuple[Rule, ...]
    given: tuple[dict[str, Any], ...]
    """How each rule was asked for: {rule, fields}."""
    starts: np.ndarray
    """Shape (starts, 2)."""
    steps: int
    seed: int


def descent(facts: Facts) -> Descent:
    """Read {landscape | formula, low, high; rules: [{rule, fields}]; starts; steps; noise; seed}.

    Raises:
        BadInput: something in it is missing, of the wrong kind or out of bounds.
    """
    given = listed(facts, "rules", RULES)
    starts = [_point(pair) for pair in listed(facts, "starts", STARTS)]
    noise = number(facts, "noise", 0.0, 1e6, default=0.0)
    place = landscape(facts)
    return Descent(
        landscape=dataclasses.replace(place, noise=noise) if noise else place,
        formula=facts.get("formula"),
        rules=tuple(rule(entry) for entry in given),
        given=tuple({"rule": entry["rule"], "fields": entry.get("fields", {})} for entry in given),
        starts=np.asarray(starts, np.float32),
        steps=whole(facts, "steps", 1, STEPS),
        seed=whole(facts, "seed", 0, 2**31 - 1, default=0),
    )


def landscape(facts: Facts) -> Landscape:
    """The landscape that a request names or spells out.

    Raises:
        BadInput: it has none, or the formula is not one of x and y.
    """
    if "formula" in facts:
        low, high = (number(facts, name, -1e6, 1e6) for name in ("low", "high"))
        if low >= high:
            raise BadInput(f"a landscape's box needs low < high, not {low:g} and {high:g}")
        return Landscape("formula", _typed(facts["formula"]), 2, low, high)
    name = _text(facts, "landscape")
    if name not in plane_landscapes():
        raise BadInput(f"{name!r} is no landscape of two variables; there are {', '.join(plane_landscapes())}")
    return tasks.task(name)


@functools.cache
def plane_landscapes() -> tuple[str, ...]:
    """The names of the task room's landscapes of two variables."""
    # By what their makers promise: to make every task would read every data set.
    promised = [name for name in tasks.names() if inspect.signature(factory(name)).return_annotation == "Landscape"]
    return tuple(name for name in promised if tasks.task(name).n == 2)


# One function for one text, or every request would compile it anew.
@functools.lru_cache(maxsize=64)
def _formula(text: str) -> Callable[[Any], Any]:
    parsed = Formula(text)
    for name in parsed.names:
        if name not in ("x", "y"):
            raise BadInput(f"a landscape is a formula in x and y; {text!r} has {name!r}")

    def height(point: Any) -> Any:
        return jnp.asarray(parsed(x=point[0], y=point[1]), point.dtype)

    return height


def _typed(text: Any) -> Callable[[Any], Any]:
    if not isinstance(text, str) or len(text) > FORMULA:
        raise BadInput(f"a formula is a text of at most {FORMULA} characters, such as 'x**2 + y**2'")
    return _formula(text)


def rule(given: Any) -> Rule:
    """The rule that {rule: name, fields: {…}} describes: a listed one or a trained one of the zoo.

    Raises:
        BadInput: there is no such rule or field, or a value is invalid.
    """
    if not isinstance(given, dict) or not isinstance(given.get("fields", {}), dict):
        raise BadInput("a rule is given as {rule: name, fields: {name: value}}")
    name, fields = _text(given, "rule"), given.get("fields", {})
    for field, value in fields.items():
        if not isinstance(value, int | float | str | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise BadInput(f"{field!r} must be a finite number or the name of a variant, not {value!r}")
    if name not in zoo():
        return rules.rule(name, **fields)
    trained = _trained(name)
    for field in fields:
        if field not in trained.hypers():
            raise unknown(f"hyperparameter of {name}", field, trained.hypers(), "the sliders")
    return trained.replace(**fields)


@functools.cache
def _trained(name: str) -> Rule:
    return load(name)


def number(facts: Facts, name: str, low: float, high: float, default: float | None = None) -> float:
    """A finite number within bounds.

    Raises:
        BadInput: it is none.
    """
    value = facts.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadInput(f"{name} must be a number in [{low:g}, {high:g}], not {value!r}")
    return float(value)


def whole(facts: Facts, name: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        BadInput: it is none.
    """
    value = facts.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def choice(facts: Facts, name: str, choices: tuple[str, ...]) -> str:
    """One of some texts.

    Raises:
        BadInput: it is none of them.
    """
    value = facts.get(name)
    if value not in choices:
        raise BadInput(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def numbers(facts: Facts, name: str, most: int, low: float, high: float) -> list[float]:
    """A list of 1 to `most` finite numbers within bounds.

    Raises:
        BadInput: it is none.
    """
    return [number({name: value}, name, low, high) for value in listed(facts, name, most)]


def interval(facts: Facts, name: str, default: tuple[float, float]) -> tuple[float, float]:
    """A pair of numbers, from and to.

    Raises:
        BadInput: it is none.
    """
    if name not in facts:
        return default
    low, *rest = numbers(facts, name, 2, -1e6, 1e6)
    if not rest or low >= rest[0]:
        raise BadInput(f"{name} must be two numbers, the lower one first, not {facts[name]!r}")
    return low, rest[0]


def listed(facts: Facts, name: str, most: int) -> list[Any]:
    """A list of 1 to `most` entries.

    Raises:
        BadInput: it is none.
    """
    value = facts.get(name)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise BadInput(f"{name} must be a list of 1 to {most} entries")
    return value


def _text(facts: Facts, name: str) -> str:
    value = facts.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a text, not {value!r}")
    return value


def _point(pair: Any) -> tuple[float, float]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise BadInput(f"a start is a pair of numbers, not {pair!r}")
    x, y = (number({"start": value}, "start", -1e6, 1e6) for value in pair)
    return x, y
