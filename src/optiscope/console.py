"""What a terminal shows: tables, progress, numbers and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

PACE = 300.0
"""Seconds over which a bar takes its pace: longer than a rule's compiling, shorter than what a store saves."""
FILE_WIDTH = 400
"""A pipe or a file has no width to fold to: each row stays one line there."""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, of which a narrow terminal folds the first column alone."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        drawn.add_column(header, no_wrap=i > 0 and i < len(headers) - 1, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else FILE_WIDTH
    Console(width=width, highlight=False, markup=False).print(drawn)


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Callable[..., None]]:
    """A bar on stderr over `total` rules, where a person watches, with the time left at the pace of the last minutes.

    Yields what is to be told (rule, what is done) or, where it is known, (rule, what is done, share of all done).
    """
    if quiet or not sys.stderr.isatty():
        yield lambda label, doing, share=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:30}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=PACE) as bar:
        work = bar.add_task("", total=1.0)
        begun: list[str] = []

        def tell(label: str, doing: str, share: float | None = None) -> None:
            if label not in begun:
                begun.append(label)
            done = (len(begun) - 1) / total if share is None else share
            bar.update(work, description=f"{label}: {doing}", completed=done)

        yield tell


@contextmanager
def training(total: int, *, quiet: bool) -> Iterator[Callable[[int, dict[str, Any] | None], None]]:
    """A bar on stderr over `total` outer steps, with the last report; yields what is to be told (step, report).

    Steps below 0 are those in which a rule is taught another's steps, before it is trained.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda step, row: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        work = bar.add_task("compiling", total=total)

        def tell(step: int, row: dict[str, Any] | None) -> None:
            bar.update(work, completed=max(0, step))
            if step < 0:
                bar.update(work, description=f"being taught, {-step} steps to go")
            elif row is not None:
                loss, held = (math.inf if row[name] is None else row[name] for name in ("loss", "validation"))
                bar.update(work, description=f"loss {short(loss, 4)}, held-out {short(held, 4)}")

        yield tell


def short(number: float, digits: int = 5) -> str:
    """A number to so many digits."""
    return "∞" if math.isinf(number) else f"{number:.{digits}g}"


def vector(numbers: Sequence[float]) -> str:
    """A point."""
    return "(" + ", ".join(f"{v:.6g}" for v in numbers) + ")"


def dumps(facts: Any) -> str:
    """JSON as the standard has it, where an infinite or undefined number is a string that says which."""

    def plain(x: Any) -> Any:
        if isinstance(x, float) and not math.isfinite(x):
            return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        return [plain(v) for v in x] if isinstance(x, list | tuple) else x

    return json.dumps(plain(facts), indent=2, ensure_ascii=False, allow_nan=False, default=float)


def print_json(facts: Any) -> None:
    """Print facts as JSON."""
    click.echo(dumps(facts))
