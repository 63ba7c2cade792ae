"""What several commands read from their arguments in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click

from ..errors import BadInput

if TYPE_CHECKING:
    from ..tasks.landscapes import Landscape

OUT = "optiscope-out"


def common(command: Callable) -> Callable:
    """The options that every command takes."""
    for option in (
        click.option("--out", default=OUT, show_default=True, help="Folder for results and pictures."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="First seed."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else, on stdout."),
    ):
        command = option(command)
    return command


def split(text: str) -> list[str]:
    """Rules separated by commas. A part such as `b1=0.8`, without a rule's name, is a field of the rule before it."""
    rules: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if rules and "=" in part and ":" not in part:
            rules[-1] += f",{part}"
        else:
            rules.append(part)
    return rules


def batch_setting(text: str | None) -> dict[str, int | None]:
    if text is None:
        return {}
    if text == "all":
        return {"batch": None}
    try:
        return {"batch": int(text)}
    except ValueError:
        raise BadInput(f"--batch takes a whole number of rows or 'all', not {text!r}") from None


def landscape(name: str, **settings: Any) -> Landscape:
    from .. import tasks

    if not isinstance(tasks.task(name), tasks.Landscape):
        raise BadInput(f"{name} is no landscape; 'optiscope tasks' lists them, such as rosenbrock")
    return cast("Landscape", tasks.task(name, **settings))


def point(text: str, n: int) -> list[float]:
    try:
        point = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--from takes numbers separated by commas, such as -1.5,1.5, not {text!r}") from None
    if len(point) != n:
        raise BadInput(
            f"--from needs {n} number{'s' if n > 1 else ''} on this landscape, not the {len(point)} of {text!r}"
        )
    if not all(map(math.isfinite, point)):
        raise BadInput(f"--from needs finite numbers, not {text!r}")
    return point
