"""A rule as plain values, those that JSON has, and back: what its file and a framework's configuration hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import unknown
from .contract import Rule
from .schedules import Schedule


def told(held: Any, array: Callable[[np.ndarray, str], Any], path: str = "rule") -> Any:
    """A rule, or what one holds, as plain values; `array` puts those that have axes, given the fields that lead there.

    What `array` returns must be plain too, and is what `made` gives to its own `array`.
    """
    if held is None or isinstance(held, bool | int | str):
        return held
    if dataclasses.is_dataclass(held):
        fields = {f.name: told(getattr(held, f.name), array, f"{path}.{f.name}") for f in dataclasses.fields(held)}
        return {"class": type(held).__name__, "fields": fields}
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
    classes = {cls.__name__: cls for root in (Rule, Schedule) for cls in _below(root)}
    if plain["class"] not in classes:
        raise unknown("rule or schedule", plain["class"], classes, "'optiscope rules'; import what declares it first")
    return classes[plain["class"]](**{name: made(each, array) for name, each in plain["fields"].items()})


def _below(cls: type[Any]) -> list[type[Any]]:
    subclasses: list[type[Any]] = type.__subclasses__(cls)
    return [each for sub in subclasses for each in (sub, *_below(sub))]
