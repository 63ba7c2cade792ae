"""Rules in files: safetensors, with the rule's structure and a card as JSON in the header. Nothing in one can run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import atomic
from ..errors import BadInput
from .contract import Rule
from .learned import Learned
from .schedules import Schedule

FORMAT = 1
ENTRY = "optiscope"
"""The entry of the header that tells of the rule."""
Card = dict[str, Any]
"""What a file tells of its rule, in plain JSON."""


def write(rule: Rule, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None) -> None:
    """Write a rule, with a card of plain JSON beside it, whole or not at all.

    Raises:
        BadInput: the folder is not there or cannot be written to.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    told = json.dumps({"format": FORMAT, "rule": _told(rule, "rule", arrays), "card": dict(card or {})})
    try:
        with atomic.replacing(Path(path)) as temporary:
            # One entry: the format keeps several in no order, and the same rule makes the same bytes.
            save_file(arrays or {"none": np.zeros(0, np.float32)}, temporary, {ENTRY: told})
    except OSError as error:
        raise BadInput(f"cannot write {str(path)!r}: {error.strerror}; choose another place") from None


def read(path: str | os.PathLike[str]) -> tuple[Rule, Card]:
    """The rule in a file, its weights as NumPy arrays, and its card.

    Raises:
        BadInput: there is no such file, it is no rule's, is damaged, or its weights have NaN or another architecture.
    """
    from safetensors import SafetensorError, safe_open

    where = str(path)
    try:
        with safe_open(where, framework="np") as file:
            header = (file.metadata() or {}).get(ENTRY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except OSError as error:
        raise BadInput(f"cannot read {where!r}: {error.strerror or 'no such file'}") from None
    except (SafetensorError, ValueError, TypeError) as error:
        raise BadInput(f"{where} is no whole safetensors file ({error}); fetch or save it again") from None
    if header is None:
        raise BadInput(f"{where} holds weights, but not a rule that osc.save has written")
    told = _parsed(header, where)
    if told.get("format") != FORMAT:
        raise BadInput(f"{where} has format {told.get('format')!r}, and this version reads {FORMAT}; update optiscope")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BadInput(f"{where}: the weights {name} are not all finite, so the rule could not step")
    try:
        rule = _made(told["rule"], arrays)
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{where}: its header describes no rule ({error})") from None
    if not isinstance(rule, Rule):
        raise BadInput(f"{where} describes no rule, but {rule!r}")
    _check(rule, where)
    return rule, told.get("card", {})


def _parsed(header: str, where: str) -> dict[str, Any]:
    try:
        told = json.loads(header)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise BadInput(f"{where}: its header is no JSON object, so it describes no rule")
    return told


def _told(held: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; what has axes goes to `arrays`, under the path of fields that leads to it."""
    if held is None or isinstance(held, bool | int | str):
        return held
    if dataclasses.is_dataclass(held):
        fields = {f.name: _told(getattr(held, f.name), f"{name}.{f.name}", arrays) for f in dataclasses.fields(held)}
        return {"class": type(held).__name__, "fields": fields}
    if isinstance(held, Mapping):
        return {"dict": {key: _told(each, f"{name}.{key}", arrays) for key, each in held.items()}}
    if isinstance(held, list | tuple):
        return {"tuple": [_told(each, f"{name}.{i}", arrays) for i, each in enumerate(held)]}
    array = np.asarray(held)
    if array.ndim == 0 and isinstance(held, float):
        return held
    arrays[name] = np.asarray(array, order="C")
    return {"array": name}


def _made(told: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(told, dict):
        return told
    if "array" in told:
        return arrays[told["array"]]
    if "tuple" in told:
        return tuple(_made(each, arrays) for each in told["tuple"])
    if "dict" in told:
        return {key: _made(each, arrays) for key, each in told["dict"].items()}
    classes = {cls.__name__: cls for root in (Rule, Schedule) for cls in _below(root)}
    if told["class"] not in classes:
        raise BadInput(f"no rule or schedule is called {told['class']!r} here; import what declares it first")
    return classes[told["class"]](**{name: _made(each, arrays) for name, each in told["fields"].items()})


def _below(cls: type[Any]) -> list[type[Any]]:
    subclasses: list[type[Any]] = type.__subclasses__(cls)
    return [cls, *(each for sub in subclasses for each in _below(sub))]


def _check(rule: Rule, where: str) -> None:
    """That the weights of every learned rule in it have the shapes of its architecture."""
    if isinstance(held := getattr(rule, "rule", None), Rule):
        _check(held, where)
    if not isinstance(rule, Learned):
        return
    wanted = type(rule).untrained(**rule.architecture)
    for field in dataclasses.fields(cast(Any, rule)):
        has, should = (_shapes(getattr(each, field.name)) for each in (rule, wanted))
        if has != should:
            raise BadInput(
                f"{where}: {field.name} of a {rule.name} of {rule.architecture} has shapes {has}, not {should}"
            )


def _shapes(held: Any) -> Any:
    if isinstance(held, Mapping):
        return {name: _shapes(each) for name, each in held.items()}
    if isinstance(held, tuple):
        return [_shapes(each) for each in held]
    return np.shape(held)
