"""Settings as code to copy."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

from ... import rules
from ...rules.contract import Rule

FRAMEWORKS = {
    "PyTorch": (
        "from optiscope.frameworks.torch import Optimizer",
        "optimizer = Optimizer(model.parameters(), {})",
    ),
    "optax": (
        "from optiscope.frameworks.optax import transform",
        "tx = transform({})",
    ),
    "Keras": (
        "from optiscope.frameworks.keras import Optimizer",
        "model.compile(optimizer=Optimizer({}), loss=loss)",
    ),
}


def snippets(rule: Rule) -> dict[str, str]:
    """The lines that make this rule an optimizer, by framework; none for a rule that a line of code cannot hold."""
    try:
        made, own = expression(rule), _imports(rule)
    except _NoCode:
        return {}
    return {
        name: "\n".join(["import optiscope as osc", imports, *own, "", use.format(made)])
        for name, (imports, use) in FRAMEWORKS.items()
    }


class _NoCode(Exception):
    pass


def expression(made: Any) -> str:
    """A rule, or what it holds, as the Python expression that makes it."""
    if dataclasses.is_dataclass(made) and not isinstance(made, type):
        fields = [(f.name, getattr(made, f.name), f.default) for f in dataclasses.fields(made)]
        given = [
            expression(held) if name == "rule" else f"{name}={expression(held)}"
            for name, held, default in fields
            if _differs(held, default)
        ]
        cls = type(made)
        return f"{'osc.' if _is_ours(cls) else ''}{cls.__qualname__}({', '.join(given)})"
    if isinstance(made, dict):
        return "{" + ", ".join(f"{key!r}: {expression(held)}" for key, held in made.items()) + "}"
    if isinstance(made, tuple):
        return "(" + "".join(f"{expression(held)}, " for held in made) + ")"
    if made is None or isinstance(made, str | bool | int):
        return repr(made)
    if isinstance(made, numbers.Real):
        return repr(float(made))
    raise _NoCode


def _differs(held: Any, default: Any) -> bool:
    return not isinstance(held, type(default)) or bool(held != default)


def _imports(rule: Rule) -> list[str]:
    cls, held = type(rule), getattr(rule, "rule", None)
    if _is_ours(cls):
        return _imports(held) if isinstance(held, Rule) else []
    if "<locals>" in cls.__qualname__:
        raise _NoCode  # no import reaches it
    return [f"from {cls.__module__} import {cls.__qualname__}"]


def _is_ours(cls: type) -> bool:
    return getattr(rules, cls.__name__, None) is cls
