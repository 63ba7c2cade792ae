"""`optiscope compare`: which rule wins on a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .. import console
from ..console import dumps, short
from .options import batch_setting, common, split

if TYPE_CHECKING:
    from ..lab.compare import Comparison


@click.command()
@click.argument("task")
@click.option("--rules", "chosen", help="Rules and solvers: adam,momentum:lr=0.01,bfgs,lbfgs:memory=20. All rules by default.")
@click.option("--batch", help="Rows a step sees: a number, or 'all'.")
@click.option("--steps", type=int, help="Steps; the task's own number by default.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each rule.")
@click.option("--target", type=float, help="The loss that counts as reached.")
@click.option("--defaults", is_flag=True, help="Keep the default learning rates instead of choosing one for each rule.")
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@common
def compare(
    task: str,
    chosen: str | None,
    batch: str | None,
    steps: int | None,
    seeds: int,
    target: float | None,
    defaults: bool,
    dtype: str,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """Compare rules on TASK: who wins, by how much, and whether that is significant.

    Each rule's learning rate is first chosen from a log grid on separate seeds, unless the rule is given with one, as
    in adam:lr=0.01. All rules then run on the same seeds: same starts, same batches.
    """
    from .. import atomic, lab, rules, tasks

    settings = batch_setting(batch)
    made = tasks.task(task, **settings)
    folder = atomic.folder(out)
    contenders = split(chosen) if chosen else rules.names()
    with console.progress(len(contenders), quiet=as_json) as tell:
        found = lab.compare(
            contenders,
            made,
            steps=steps,
            seeds=range(seed, seed + seeds),
            target=target,
            choose=not defaults,
            dtype=dtype,
            progress=tell,
        )
    from .. import view

    stem = f"compare-{made.name}"
    picture = view.save(view.loss_curves(found), folder / f"{stem}.png")
    facts = {
        "task": made.name,
        "settings": settings,
        "steps": found.steps,
        "seeds": [seed, seed + seeds - 1],
        "dtype": dtype,
        "optimum": made.optimum,
        "target": found.target,
        "sentence": found.sentence,
        "rules": found.table,
        "picture": str(picture),
    }
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(dumps(facts))
    if as_json:
        console.print_json(facts)
    else:
        _print_comparison(found, seeds)
        click.echo(f"\n{found.sentence}\n\nloss curves: {picture}\nall numbers: {folder / stem}.json")


def _print_comparison(found: Comparison, seeds: int) -> None:
    scores, facts = [], []
    for row in found.table:
        lr = "–" if row["lr"] is None else f"{row['lr']:.2g}" + ("!" if "lr" in row["at_edge"] else "")
        mean = f"{short(row['mean'])} ± {short(row['standard_error'], 2)}"
        middle = f"{short(row['iqm'])} [{short(row['low'])}, {short(row['high'])}]"
        scores.append([row["rule"], lr, mean, short(row["median"]), middle])
        reached = f"{short(row['steps_to_target'])} ({row['reached_target']})"
        times = f"{row['run_seconds']:.2f} + {row['compile_seconds']:.1f}"
        p = "" if row["p"] is None else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        facts.append([row["rule"], str(row["diverged"]), reached, times, p, row["verdict"]])
    floor = found.task.optimum
    least = "" if floor is None else f"; the least there is {floor:.6g}"
    click.echo(f"{found.task.name}: loss after {found.steps} steps, {seeds} seeds{least}\n")
    console.table(["rule", "lr", "mean ± s.e.", "median", "IQM [95 %]"], scores)
    console.table(["rule", "diverged", "steps to target", "run + compile, s", "p", "against the best"], facts)
    click.echo(
        "\nIQM: interquartile mean, with its bootstrap interval. A run that diverged counts as ∞. "
        f"Target: {found.target:.6g}; the median over seeds, and how many of {seeds} got there. "
        "p: paired Wilcoxon test against the best, Holm-adjusted."
    )
    if any("lr" in row["at_edge"] for row in found.table):
        click.echo("lr!: the best rate is at the edge of the grid; a better one may lie outside.")
