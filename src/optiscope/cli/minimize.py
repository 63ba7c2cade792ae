"""`optiscope minimize`: a minimum of a landscape, by a solver."""

from __future__ import annotations

import click

from .. import console
from ..console import short, vector
from .options import common
from .options import landscape as landscape_of
from .options import point as point_of


@click.command()
@click.argument("landscape")
@click.option("--method", default="bfgs", show_default=True, help="newton, newton-cg, cg, bfgs, lbfgs or gd.")
@click.option("--from", "start", help="Where to start: x,y. By default a point drawn from the seed.")
@click.option("--iterations", default=1000, show_default=True, type=click.IntRange(1, 10**7), help="At most so many.")
@common
def minimize(
    landscape: str, method: str, start: str | None, iterations: int, as_json: bool, seed: int, out: str
) -> None:
    """Find a minimum of LANDSCAPE with a solver: a method that may call the function more than once a step."""
    import numpy as np

    from .. import lab, solvers

    task = landscape_of(landscape)
    point = np.array(point_of(start, task.n)) if start else lab.start_of(task, seed, "float64")
    found = solvers.minimize(task.function, point, method=method, max_iterations=iterations)
    facts = {
        "landscape": task.name,
        "method": method,
        "start": point.tolist(),
        "x": np.asarray(found.x).tolist(),
        "value": float(found.value),
        "gradient_norm": float(found.gradient_norm),
        "status": found.status.name,
        "iterations": int(found.iterations),
        "evaluations": {name: int(count) for name, count in found.evaluations._asdict().items()},
    }
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{task.name} from {vector(facts['start'])} by {method}: {found.status}")
    click.echo(f"x = {vector(facts['x'])}, value {short(facts['value'])}, gradient {short(facts['gradient_norm'])}")
    calls = ", ".join(f"{count} {name}" for name, count in facts["evaluations"].items() if count)
    click.echo(f"{facts['iterations']} iterations; evaluations: {calls}")
