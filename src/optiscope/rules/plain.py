"""A rule as plain values, those that JSON has, and back: what its file and a framework's configuration hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import BadInput, unknown
from .contract import Rule, path_of
from .schedules import Schedule


def told(held: Any, array: Callable[[np.ndarray, str], Any], path: str = "rule") -> Any:
    """A rule, or what one holds, as plain values; `array` puts those that have axes, given the fields that lead there.

    What `array` returns must be plain too, and is what `made` gives to its own `array`.

    Raises:
        BadInput: a class has the name of another, which `made` would take for it.
    """
    if held is None or isinstance(held, bool | int | str):
        return held
    if dataclasses.is_dataclass(held):
        cls = type(held)
        found = _classes().get(cls.__name__, cls)
        if path_of(found) != path_of(cls):
            raise BadInput(f"{path} is a {path_of(cls)}, which would be read as {path_of(found)}; rename the class")
        fields = {f.name: told(getattr(held, f.name), array, f"{path}.{f.name}") for f in dataclasses.fields(held)}
        return {"class": cls.__name__, "fields": fields}
    if isinstance(held, Mapping):
        return {"dict": {key: told(each, array, f"{path}.{key}") for key, each in held.items()}}
    if isinstance(held, list | tuple):
        return {"tuple": [told(each, array, f"{path}.{i}") for i, each in enumerate(held)]}
    if isinstance(held, float):
        return float(held)
    return {"array": array(np.asarray(held), path)}


def made(plain: Any, array: Callable[[Any], Any]) -> Any:
    """What `told` told of. Only rules and schedules are ever made.

    Raises:
        BadInput: no rule or schedule has the class's name.
        KeyError, TypeError, ValueError, AttributeError: these are no such plain values.
    """
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        return array(plain["array"])
    if "tuple" in plain:
        return tuple(made(each, array) for each in plain["tuple"])
    if "dict" in plain:
        return {key: made(each, array) for key, each in plain["dict"].items()}
    classes = _classes()
    if plain["class"] not in classes:
        raise unknown("rule or schedule", plain["class"], classes, "'optiscope rules'; import what declares it first")
    return classes[plain["class"]](**{name: made(each, array) for name, each in plain["fields"].items()})


def _classes() -> dict[str, type[Any]]:
    """Every rule and schedule by the name of its class, of two that were declared the later one.

    Ours come last, so that no class declared elsewhere, or named after an optax transformation, takes one's place.
    """
    there = [cls for root in (Rule, Schedule) for cls in _below(root)]
    package = __name__.partition(".")[0]
    return {cls.__name__: cls for cls in sorted(there, key=lambda cls: cls.__module__.partition(".")[0] == package)}


def _below(cls: type[Any]) -> list[type[Any]]:
    subclasses: list[type[Any]] = type.__subclasses__(cls)
    return [each for sub in subclasses for each in (sub, *_below(sub))]
