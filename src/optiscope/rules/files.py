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
from .learned import Learned, Recurrent, SmallFC
from .plain import made, told

FORMAT = 1
ENTRY = "optiscope"
"""The entry of the header that tells of the rule."""
Card = dict[str, Any]
"""What a file tells of its rule, in plain JSON."""


def write(rule: Rule, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None) -> None:
    """Write a rule, with a card of plain JSON beside it, whole or not at all.

    Raises:
        BadInput: `rule` is none, or `read` would take its class for another; the folder is not there or cannot be
            written to.
    """
    from safetensors.numpy import save_file

    if not isinstance(rule, Rule):
        raise BadInput(f"a file takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")
    arrays: dict[str, np.ndarray] = {}

    def keep(array: np.ndarray, path: str) -> str:
        arrays[path] = np.asarray(array, order="C")
        return path

    header = json.dumps({"format": FORMAT, "rule": told(rule, keep), "card": dict(card or {})})
    try:
        with atomic.replacing(Path(path)) as temporary:
            # One entry: the format keeps several in no order, and the same rule makes the same bytes.
            save_file(arrays or {"none": np.zeros(0, np.float32)}, temporary, {ENTRY: header})
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
    facts = _parsed(header, where)
    if facts.get("format") != FORMAT:
        raise BadInput(f"{where} has format {facts.get('format')!r}, and this version reads {FORMAT}; update optiscope")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BadInput(f"{where}: the weights {name} are not all finite, so the rule could not step")
    try:
        rule = made(facts["rule"], arrays.__getitem__)
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{where}: its header describes no rule ({error})") from None
    if not isinstance(rule, Rule):
        raise BadInput(f"{where} describes no rule, but {rule!r}")
    try:
        _check(rule, where, sum(array.size for array in arrays.values()))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadInput(f"{where}: its weights are no network's ({error!r})") from None
    return rule, facts.get("card", {})


def _parsed(header: str, where: str) -> dict[str, Any]:
    try:
        facts = json.loads(header)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise BadInput(f"{where}: its header is no JSON object, so it describes no rule")
    return facts


def _check(rule: Rule, where: str, size: int) -> None:
    """That the weights of every learned rule in it have the shapes of its architecture, `size` numbers at the most."""
    if isinstance(held := getattr(rule, "rule", None), Rule):
        _check(held, where, size)
    if not isinstance(rule, Learned):
        return
    # The comparison draws a network, and a layer over n units has n² weights: one long row in a small file must not ask
    # for more memory than there is.
    layers = rule.architecture["layers"] - isinstance(rule, SmallFC)  # its first is over features
    if isinstance(rule, Recurrent | SmallFC) and layers * rule.architecture["units"] ** 2 > size:
        raise BadInput(f"{where}: {size} numbers are too few for a {rule.name} of {rule.architecture}")
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
