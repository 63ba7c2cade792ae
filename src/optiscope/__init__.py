"""Optiscope: every optimizer is one kind of object. Use it, see it, compare it, train it, explain it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rules import *  # noqa: F403

_HOMES = ("errors", "rules")


def __getattr__(name: str) -> Any:
    """Import a room when something of its is first asked for, so that `import optiscope` costs nothing."""
    for home in _HOMES:
        module = importlib.import_module(f".{home}", __name__)
        if name == home:
            return module
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module 'optiscope' has no attribute {name!r}")
