"""Rules by file and by name: the trained ones that come with the package, and yours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import unknown
from ..rules import files
from ..rules.contract import Rule

ZOO = Path(__file__).parent / "zoo"


def zoo() -> list[str]:
    """The names of the trained rules that come with the package."""
    return sorted(path.stem for path in ZOO.glob("*.safetensors"))


def save(rule: Rule, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None) -> None:
    """Write a rule to a safetensors file, which holds its weights, its structure and a card of plain JSON.

    Raises:
        BadInput: the folder cannot be written to.
    """
    files.write(rule, path, card)


def load(what: str | os.PathLike[str]) -> Rule:
    """A rule from a file that `save` has written, or the trained one of a name: `load("gru-rosenbrock")`.

    Raises:
        BadInput: there is no such file or name, or the file is damaged or no rule's. Nothing in a file is ever run.
    """
    return files.read(_path(what))[0]


def card(what: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file tells of its rule: the task, the recipe, the seeds, the figures, the command that made it.

    Raises:
        BadInput: as `load`.
    """
    return files.read(_path(what))[1]


def _path(what: str | os.PathLike[str]) -> Path:
    path = Path(what)
    if path.suffix or path.exists() or path.parent != Path():
        return path
    if str(what) not in zoo():
        raise unknown("trained rule", what, zoo(), f"what comes with the package: {', '.join(zoo())}; or give a file")
    return ZOO / f"{what}.safetensors"
