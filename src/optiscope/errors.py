"""The one error a user's input can cause: a sentence that says what, where and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that was refused. The message is one sentence, fit to be shown as it is."""


def unknown(kind: str, name: object, known: Iterable[str], see: str) -> BadInput:
    """The error for a name that nothing answers to, with the nearest one that something does."""
    near = difflib.get_close_matches(str(name).lower(), list(known), n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return BadInput(f"unknown {kind} {str(name)!r}; {guess}see {see}")
