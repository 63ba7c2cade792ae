"""What several commands read from their arguments in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..errors import BadInput

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..tasks.contract import Task
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


def described(command: Callable) -> Callable:
    """The options that say what a task is, which `task` takes together."""
    for option in (
        click.option("--hidden", help="Of a data file: widths of hidden layers, as in 16,16; none by default."),
        click.option("--kind", help="Of a data file: regression (the default) or classification."),
        click.option("--features", help="Of a data file: columns to predict from, as in a,b; all others by default."),
        click.option("--target", help="Of a data file (CSV, npz, Parquet): the column to predict."),
        click.option("--batch", help="Rows a step sees: a number, or 'all'."),
    ):
        command = option(command)
    return command


def task(name: str, batch: str | None, **of_file: str | None) -> Task:
    """The task of this name or, where it has an ending as in rows.csv, of this data file.

    Raises:
        BadInput: there is no such task or file, or the options do not fit it.
    """
    from .. import tasks

    given = {option: value for option, value in of_file.items() if value is not None}
    if not Path(name).suffix:
        if given:
            raise BadInput(f"--{min(given)} is for data files, such as rows.csv, and {name} is a task's name")
        return tasks.task(name, **batch_setting(batch))
    settings: dict[str, Any] = {**given, **batch_setting(batch)}
    if "target" not in settings:
        columns = ", ".join(tasks.read_columns(name))
        raise BadInput(f"say which column of {name} to predict, with --target; it has {columns}")
    if "features" in settings:
        settings["features"] = [part.strip() for part in settings["features"].split(",")]
    if "hidden" in settings:
        settings["hidden"] = _widths(settings["hidden"])
    return tasks.from_file(name, settings.pop("target"), **settings)


def _widths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--hidden takes whole numbers separated by commas, such as 16,16, not {text!r}") from None


def halvable(command: Callable) -> Callable:
    """Whether tuning is to be halved."""
    text = "Drop the worst three quarters of the settings after a few seeds, and so on; by default in long searches."
    return click.option("--halving/--no-halving", default=None, help=text)(command)


def resumable(command: Callable) -> Callable:
    """The options of commands whose runs are kept, and can be made by other processes."""
    for option in (
        click.option("--dask", help="Run on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786."),
        click.option("--workers", type=click.IntRange(1, 1024), help="Run in so many processes instead of one."),
        click.option(
            "--store", help="File of finished runs, which are not run again; runs.sqlite in --out by default."
        ),
    ):
        command = option(command)
    return command


def store_path(given: str | None, out: str) -> Path:
    """The store's file: the one given, or the one in the folder for results."""
    return Path(given) if given else Path(out, "runs.sqlite")


@contextmanager
def executor(workers: int | None, dask: str | None) -> Iterator[Executor | None]:
    """What runs the pieces of work; None for this process.

    Raises:
        BadInput: both are given, or there is no such cluster.
    """
    from ..lab import executors

    if workers and dask:
        raise BadInput("--workers and --dask do not go together: the workers are the cluster's own")
    if dask:
        with executors.dask(dask) as cluster:
            yield cluster
    elif workers:
        with executors.processes(workers) as pool:
            yield pool
    else:
        yield None


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
