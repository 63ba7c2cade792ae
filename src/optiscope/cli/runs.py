"""`optiscope runs`: what the store has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import console
from ..console import short
from .options import common, store_path

LISTED = 50
"""Rows that are printed where all were not asked for."""
WHOLE = click.IntRange(0, 2**63 - 1)
"""The whole numbers that SQLite takes."""


@click.command()
@click.option("--store", "given", help="The store's file; runs.sqlite in --out by default.")
@click.option("--rule", help="Only runs of this rule, such as adam.")
@click.option("--task", help="Only runs on this task, such as airfoil.")
@click.option("--steps", type=WHOLE, help="Only runs of so many steps.")
@click.option("--dtype", help="Only runs in this precision: float32 or float64.")
@click.option("--id", "ids", multiple=True, type=WHOLE, help="Only the run of this number; may be given several times.")
@click.option("--all", "everything", is_flag=True, help=f"List all, not only the last {LISTED}.")
@click.option("--export", type=click.Path(dir_okay=False), help="Write them to a .csv or .parquet file, a row a seed.")
@click.option("--delete", is_flag=True, help="Delete them.")
@click.option("--trainings", is_flag=True, help="List the trainings of learned rules instead.")
@common
def runs(
    given: str | None,
    rule: str | None,
    task: str | None,
    steps: int | None,
    dtype: str | None,
    ids: tuple[int, ...],
    everything: bool,
    export: str | None,
    delete: bool,
    trainings: bool,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """List, export or delete finished runs, which tune and compare keep and do not compute again; or list trainings."""
    from ..errors import BadInput
    from ..lab.store import Query, Store
    from ..lab.store.export import export as write

    path = store_path(given, out)
    query = Query(rule, task, steps, dtype, ids or None)
    if trainings and (delete or export or query != Query()):
        raise BadInput("--trainings lists all trainings; it goes with --store and --json alone")
    if not path.exists():
        raise BadInput(f"there is no store {str(path)!r} yet; tune and compare make one, or name another with --store")
    if delete and export:
        raise BadInput("--delete and --export do not go together; export first")
    if delete and query == Query():
        raise BadInput(
            f"--delete needs to be told which runs, with --rule, --task or --id; to delete all, remove {path}"
        )
    with Store(path) as store:
        if trainings:
            _list_trainings(store.trainings(), path, as_json)
        elif export:
            rows = write(store, Path(export), query)
            _say({"exported": export, "rows": rows}, f"{rows} rows, one a seed: {export}", as_json)
        elif delete:
            gone = store.delete(query)
            _say({"deleted": gone}, f"{gone} runs deleted", as_json)
        else:
            _list(store.runs(query), path, query == Query(), everything, as_json)


def _say(facts: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        console.print_json(facts)
    else:
        click.echo(sentence)


def _list(found: list[dict[str, Any]], path: Path, unasked: bool, everything: bool, as_json: bool) -> None:
    if as_json:
        console.print_json(found)
        return
    if not found:
        click.echo(f"no runs in {path}" if unasked else f"no run in {path} is like that; leave a filter out")
        return
    shown = found if everything else found[-LISTED:]
    rows = [
        [
            str(run["id"]),
            run["rule"],
            _settings(run["setting"]),
            run["task"],
            f"{run['first_seed']}–{run['first_seed'] + run['seeds'] - 1}",
            str(run["steps"]),
            "∞" if run["final"] is None else short(run["final"]),
            str(run["diverged"]),
            run["made"][:16].replace("T", " "),
        ]
        for run in shown
    ]
    headers = ["id", "rule", "setting", "task", "seeds", "steps", "median final", "diverged", "made (UTC)"]
    console.table(headers, rows)
    if len(shown) < len(found):
        click.echo(f"the last {len(shown)} of {len(found)} runs; --all lists them all")
    click.echo(f"store: {path}")


def _list_trainings(found: list[dict[str, Any]], path: Path, as_json: bool) -> None:
    if as_json:
        console.print_json(found)
        return
    headers = ["rule", "tasks", "estimator", "seed", "steps", "best held-out", "rejected", "seconds", "made (UTC)"]
    console.table(headers, [_training(each["facts"], each["history"], each["made"]) for each in found])
    click.echo(f"store: {path}")


def _training(facts: dict[str, Any], history: list[dict[str, Any]], made: str) -> list[str]:
    """A row of the table; interrupted before its first report, a training has no history yet."""
    held = [row["validation"] for row in history if row["validation"] is not None]
    return [
        facts["rule"],
        ", ".join(facts["tasks"]),
        facts["estimator"].partition("(")[0],
        str(facts["seed"]),
        f"{history[-1]['step'] if history else 0} of {facts['steps']}",
        short(min(held), 4) if held else "",
        str(sum(row["rejected"] for row in history)),
        short(history[-1]["seconds"], 3) if history else "",
        made[:16].replace("T", " "),
    ]


def _settings(setting: dict[str, Any]) -> str:
    """The numbers of a rule, those of a rule that it holds included."""
    parts = []
    for name, held in setting.items():
        if isinstance(held, dict) and "is" in held:
            parts.append(_settings(held))
        elif isinstance(held, float):
            parts.append(f"{name}={held:.4g}")
    return " ".join(filter(None, parts))
