"""What the makers of tasks ask of their settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import BadInput


def check_whole(task: str, what: str, given: Any, *, least: int = 1, most: float = math.inf) -> None:
    """Refuse what is no whole number in a range.

    Raises:
        BadInput: it is not.
    """
    whole = isinstance(given, int) and not isinstance(given, bool)
    if not whole or not least <= given <= most:
        span = f"≥ {least}" if most == math.inf else f"from {least} to {most}"
        raise BadInput(f"{task}: {what} must be a whole number {span}, not {given!r}")


def widths(task: str, hidden: int | Sequence[int]) -> tuple[int, ...]:
    """The hidden layers' widths, of one layer or of several; () for none.

    Raises:
        BadInput: one of them is no whole number ≥ 1.
    """
    listed = tuple(hidden) if isinstance(hidden, list | tuple) else (hidden,)
    for width in listed:
        check_whole(task, "hidden", width)
    return listed
