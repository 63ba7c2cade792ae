"""`optiscope compare`: which rule wins on a task, or on several."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import console
from ..console import dumps, short
from ..errors import BadInput
from .options import batch_setting, common, described, executor, halvable, resumable, split, store_path
from .options import task as task_of

if TYPE_CHECKING:
    from ..lab.compare import Comparison
    from ..lab.suite import Suite


@click.command()
@click.argument("names", metavar="TASK...", nargs=-1, required=True)
@click.option(
    "--rules", "chosen", help="Rules and solvers: adam,gd:lr=0.01,bfgs,lbfgs:memory=20. All rules by default."
)
@click.option("--steps", type=int, help="Steps, a gradient each; the task's own number by default.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each rule.")
@click.option("--goal", type=float, help="The loss that counts as reached.")
@click.option("--tune", type=click.IntRange(1, 2**20), help="Tune all of each rule's fields, with so many trials.")
@click.option(
    "--tuning-seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each trial."
)
@halvable
@click.option("--with-schedule", is_flag=True, help="Tune a clip and a schedule with them.")
@click.option("--defaults", is_flag=True, help="Keep the default learning rates instead of choosing one for each rule.")
@click.option(
    "--every", default=1, show_default=True, type=click.IntRange(1), help="Record the loss once in so many steps."
)
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@click.option("--report", "page", type=click.Path(dir_okay=False), help="Write it all as one HTML page here.")
@described
@resumable
@common
def compare(
    names: tuple[str, ...],
    chosen: str | None,
    steps: int | None,
    seeds: int,
    goal: float | None,
    tune: int | None,
    tuning_seeds: int,
    halving: bool | None,
    with_schedule: bool,
    defaults: bool,
    every: int,
    dtype: str,
    page: str | None,
    store: str | None,
    workers: int | None,
    dask: str | None,
    as_json: bool,
    seed: int,
    out: str,
    **description: str | None,
) -> None:
    """Compare rules on a TASK, or on several: who wins, by how much, and whether that is significant.

    A TASK may be a data file of yours: compare rows.csv --target price.

    Each rule's learning rate is first chosen from a log grid on separate seeds, unless the rule is given with one, as
    in adam:lr=0.01; with --tune all of its fields are, with as many trials for each rule. All rules then run on the
    same seeds: same starts, same batches. Finished runs are kept: an interrupted comparison goes on where it was.
    """
    from .. import atomic, lab, rules

    made = [task_of(name, **description) for name in names]
    called = [task.name for task in made]
    for name in called:
        if called.count(name) > 1:
            raise BadInput(f"two tasks are called {name!r}, and results are kept by that name; give each once")
    given = {option: value for option, value in description.items() if value is not None}
    settings = {**given, **batch_setting(description["batch"])}
    folder = atomic.folder(out)
    if page:
        atomic.folder(Path(page).parent)
    contenders = rules.names() if chosen is None else split(chosen)
    comparisons, saved = [], []
    for task in made:
        with console.progress(len(contenders), quiet=as_json) as tell, executor(workers, dask) as pool:
            found = lab.compare(
                contenders,
                task,
                steps=steps,
                seeds=range(seed, seed + seeds),
                target=goal,
                choose=not defaults,
                tune=tune,
                tuning_seeds=tuning_seeds,
                halving=halving,
                with_schedule=with_schedule,
                every=every,
                dtype=dtype,
                store=store_path(store, out),
                executor=pool,
                progress=tell,
            )
        comparisons.append(found)
        saved.append(_save(found, folder, {"settings": settings, "seeds": [seed, seed + seeds - 1]}))
        if not as_json:
            _print_comparison(found, seeds)
            click.echo(
                f"\n{found.sentence}\n\nloss curves: {saved[-1]['picture']}\nall numbers: {_numbers(found, folder)}"
            )

    whole = lab.suite(comparisons) if len(made) > 1 else None
    if whole and not as_json:
        _print_suite(whole)
    if as_json:
        facts = {"sentence": whole.sentence, "rules": whole.table, "comparisons": saved} if whole else saved[0]
        console.print_json(facts)
    if page:
        from .. import view

        view.report(whole or comparisons[0], page, command=shlex.join(["optiscope", *sys.argv[1:]]))
        click.echo(f"report: {page}", err=as_json)


def _numbers(found: Comparison, folder: Path) -> Path:
    return folder / f"compare-{found.task.name}.json"


def _save(found: Comparison, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The comparison as facts, in a file of their own, beside the picture of its loss curves."""
    from .. import atomic, view

    path = _numbers(found, folder)
    picture = view.save(view.loss_curves(found), path.with_suffix(".png"))
    facts = {
        "task": found.task.name,
        **asked,
        "steps": found.steps,
        "dtype": found.dtype,
        "optimum": found.task.optimum,
        "target": found.target,
        "sentence": found.sentence,
        "rules": found.table,
        "environment": dict(found.environment),
        "picture": str(picture),
    }
    with atomic.replacing(path) as temporary:
        temporary.write_text(dumps(facts))
    return facts


def _print_comparison(found: Comparison, seeds: int) -> None:
    scores, facts, tests, metrics = [], [], [], []
    for row in found.table:
        lr = "–" if row["lr"] is None else f"{row['lr']:.2g}" + ("!" if "lr" in row["at_edge"] else "")
        mean = f"{short(row['mean'])} ± {short(row['standard_error'], 2)}"
        middle = f"{short(row['iqm'])} [{short(row['low'])}, {short(row['high'])}]"
        scores.append([row["rule"], lr, mean, short(row["median"]), middle])
        recorded = row["metrics"].items()
        metrics.append([row["rule"], *(f"{x:.1%}" if name.endswith("accuracy") else short(x) for name, x in recorded)])
        reached = f"{short(row['steps_to_target'])} ({row['reached_target']})"
        times = f"{row['run_seconds']:.2f} + {row['compile_seconds']:.1f}"
        p = "" if row["p"] is None else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        better = row["best_is_better"]
        chance = "" if better is None else f"{better['probability']:.2f} [{better['low']:.2f}, {better['high']:.2f}]"
        anytime = short(row["anytime_iqm"])
        facts.append([row["rule"], str(row["diverged"]), anytime, reached, times])
        tests.append([row["rule"], chance, p, row["verdict"]])
    floor = found.task.optimum
    least = "" if floor is None else f"; the least there is {floor:.6g}"
    click.echo(f"{found.task.name}: loss after {found.steps} steps, {seeds} seeds{least}\n")
    console.table(["rule", "lr", "mean ± s.e.", "median", "IQM [95 %]"], scores)
    if names := [name.replace("_", " ") for name in found.table[0]["metrics"]]:
        console.table(["rule", *names], metrics)
    console.table(["rule", "diverged", "anytime", "steps to target", "run + compile, s"], facts)
    console.table(["rule", "P(best is better)", "p", "against the best"], tests)
    click.echo(
        "\nIQM: interquartile mean, with its bootstrap interval. A run that diverged counts as ∞. Anytime: the mean "
        f"loss over the run (IQM). Target: {found.target:.6g}; the median over seeds, and how many of {seeds} got "
        "there. P: on a new seed, with its 95 % interval. p: paired Wilcoxon test against the best, Holm-adjusted."
    )
    if any("lr" in row["at_edge"] for row in found.table):
        click.echo("lr!: the best rate is at the edge of its space; a better one may lie outside.")
    tuned = [row for row in found.table if row["space"]]
    if all(row["space"].keys() == {"lr"} for row in tuned):
        return  # the first table has it
    halved = ", the bad ones on few of the seeds" if tuned[0]["halved"] else ""
    click.echo(f"\nsettings, {tuned[0]['trials']} trials each{halved}:")
    for row in tuned:
        chosen = [f"{name} {short(row['settings'][name], 4)} from {space}" for name, space in row["space"].items()]
        click.echo(f"  {row['rule']}: {', '.join(chosen)}")


def _print_suite(whole: Suite) -> None:
    rows = []
    for row in whole.table:
        better = row["best_is_better"]
        chance = "" if better is None else f"{better['probability']:.2f} [{better['low']:.2f}, {better['high']:.2f}]"
        middle = f"{short(row['iqm'], 3)} [{short(row['low'], 3)}, {short(row['high'], 3)}]"
        rows.append([row["rule"], middle, f"{row['fastest']:.0%}", f"{row['reached']:.0%}", chance, row["verdict"]])
    click.echo(f"\nall {len(whole.comparisons)} tasks, the share of the loss that is left\n")
    headers = ["rule", "IQM [95 %]", "fastest on", "target reached on", "P(best is better)", "against the best"]
    console.table(headers, rows)
    click.echo(f"\n{whole.sentence}")
