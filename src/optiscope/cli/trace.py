"""`optiscope trace`: the way of each rule over a landscape."""

from __future__ import annotations

import click

from .. import console
from ..console import short, vector
from .options import common, split
from .options import landscape as landscape_of
from .options import point as point_of


@click.command()
@click.argument("landscape")
@click.option(
    "--rules", "chosen", default="gd,momentum,adam", show_default=True, help="Rules and solvers, as in compare."
)
@click.option("--from", "start", help="Where to start: x,y. By default a point drawn from the seed.")
@click.option("--steps", type=int, help="Steps; 200 by default.")
@click.option("--noise", type=float, help="Standard deviation of normal noise added to each gradient.")
@click.option("--defaults", is_flag=True, help="Keep the default learning rates instead of choosing one for each rule.")
@click.option("--gif", is_flag=True, help="Animate it too.")
@common
def trace(
    landscape: str,
    chosen: str,
    start: str | None,
    steps: int | None,
    noise: float | None,
    defaults: bool,
    gif: bool,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """Draw the way of each rule or solver over LANDSCAPE, with its minima, maxima and saddles marked.

    Each rule's learning rate is the one of a log grid that ends lowest from this start without leaving the picture,
    unless the rule is given with one, as in adam:lr=0.01.
    """
    from .. import atomic, lab, view

    task = landscape_of(landscape, **({} if noise is None else {"noise": noise}))
    point = None if start is None else point_of(start, task.n)
    folder = atomic.folder(out)
    contenders = split(chosen)
    with console.progress(len(contenders), quiet=as_json) as tell:
        walks = lab.walks(contenders, task, start=point, steps=steps, seed=seed, choose=not defaults, progress=tell)
    ways = [view.trace(contender.label, runs) for contender, runs in walks]
    picture = view.save(view.trajectories(task, ways), folder / f"trace-{task.name}.png")
    moving = view.animation(task, ways, folder / f"trace-{task.name}.gif") if gif else None
    facts = [
        {
            "rule": contender.label,
            "lr": contender.settings.get("lr"),
            "start": runs.params[0, 0].tolist(),
            "end": runs.params[0, -1].tolist(),
            "value": float(runs.loss[0, -1]),
            "diverged": bool(runs.diverged[0]),
        }
        for contender, runs in walks
    ]
    files = {"picture": str(picture), "animation": str(moving) if moving else None}
    if as_json:
        console.print_json({"landscape": task.name, "noise": noise, "rules": facts, **files})
    else:
        rows = [
            [f["rule"], "–" if f["lr"] is None else f"{f['lr']:.2g}", vector(f["end"]), short(f["value"]),
             "diverged" if f["diverged"] else ""]
            for f in facts
        ]  # fmt: skip
        click.echo(f"{task.name} from {vector(facts[0]['start'])}")
        console.table(["rule", "lr", "ends at", "value", ""], rows)
        click.echo("\n" + "\n".join(f"{kind}: {file}" for kind, file in files.items() if file))
