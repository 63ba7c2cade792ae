"""`optiscope bench`: the project's own benchmarks."""

from __future__ import annotations

import click

from .. import console
from ..errors import BadInput
from .options import common


@click.command()
@click.argument("name", required=False)
@click.option("--folder", default="benchmarks", show_default=True, help="Where the benchmarks lie.")
@common
def bench(name: str | None, folder: str, as_json: bool, seed: int, out: str) -> None:
    """Run a benchmark of the project's, from a checkout of its repository; without a name, list them."""
    import runpy
    from pathlib import Path

    found = {path.stem: path for path in sorted(Path(folder).glob("*.py"))}
    if not found:
        raise BadInput(f"no benchmarks in {folder!r}; run this from a checkout of the repository, or give --folder")
    if name is None:
        if as_json:
            console.print_json(sorted(found))
        else:
            click.echo("\n".join(found))
        return
    if name not in found:
        from ..errors import unknown

        raise unknown("benchmark", name, found, "'optiscope bench'")
    module = runpy.run_path(str(found[name]))
    result = module["measure"](seed=seed)
    if as_json:
        console.print_json(result)
    else:
        click.echo(module["report"](result))
