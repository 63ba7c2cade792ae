"""`optiscope tune`: the best settings of a rule on a task."""

from __future__ import annotations

from typing import Any

import click

from .. import console
from ..console import dumps, short
from .catalogue import space_text
from .options import common, described, executor, halvable, resumable, store_path
from .options import task as task_of


@click.command()
@click.argument("rule")
@click.argument("task")
@click.option("--trials", default=2500, show_default=True, type=click.IntRange(1, 2**20), help="Settings to try.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each setting.")
@click.option("--steps", type=int, help="Steps; the task's own number by default.")
@click.option("--score", default="final", show_default=True, help="final, or mean: of the losses, over the first.")
@halvable
@described
@resumable
@common
def tune(
    rule: str,
    task: str,
    trials: int,
    seeds: int,
    steps: int | None,
    score: str,
    halving: bool | None,
    store: str | None,
    workers: int | None,
    dask: str | None,
    as_json: bool,
    seed: int,
    out: str,
    **description: str | None,
) -> None:
    """Find the best settings of RULE on TASK, such as: tune adam rosenbrock. Fields given as in adam:b1=0.9 stay.

    TASK may be a data file of yours: tune adam rows.csv --target price.

    Quasi-random settings are run on the same seeds, the best 20 again on fresh ones, and the winner is chosen there.
    Finished runs are kept: an interrupted study goes on where it was.
    """
    from .. import atomic, lab, view

    made = task_of(task, **description)
    folder = atomic.folder(out)
    with console.progress(1, quiet=as_json) as tell, executor(workers, dask) as pool:
        study = lab.tune(
            rule, made, trials=trials, seeds=seeds, steps=steps, score=score, halving=halving, seed=seed,
            store=store_path(store, out), executor=pool, progress=tell,
        )  # fmt: skip
    stem = f"tune-{study.best.name}-{made.name}"
    picture = view.save(view.figure(study), folder / f"{stem}.png")
    facts: dict[str, Any] = {
        "rule": study.best.name,
        "task": made.name,
        "steps": study.steps,
        "seeds": seeds,
        "score": study.score,
        "best": {field: getattr(study.best, field) for field in study.settings},
        "best_score": study.best_score,
        "at_edge": list(study.at_edge),
        "searches": study.searches,
        "halved": study.halved,
        "space": {f: {"kind": type(s).__name__, "low": s.low, "high": s.high} for f, s in study.space.items()},
        "importance": study.importance,
        "run_seconds": study.run_seconds,
        "compile_seconds": study.compile_seconds,
        "picture": str(picture),
    }
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(dumps({**facts, "trials": study.trials}))
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{study.best.name} on {made.name}: {trials} settings, {seeds} seeds, {study.steps} steps\n")
    rows = [
        [f, f"{v:.4g}" + ("!" if f in study.at_edge else ""), space_text(space), f"{share:.0%}"]
        for (f, v), space, share in zip(
            facts["best"].items(), study.space.values(), study.importance.values(), strict=True
        )
    ]
    console.table(["field", "best", "search space", "explains alone"], rows)
    click.echo(f"\n{score} score on {study.fresh} fresh seeds: {short(study.best_score)}")
    if study.halved:
        click.echo("halved: the settings that did badly on a few seeds ran on no more")
    if study.searches > 1:
        click.echo(
            f"the best lay at an edge, so the space was extended: {study.searches} searches of {trials} settings"
        )
    if study.at_edge:
        click.echo("!: at the edge of what has a meaning, or of what was searched after two extensions.")
    click.echo(f"\npicture: {picture}\nall trials: {folder / stem}.json")
