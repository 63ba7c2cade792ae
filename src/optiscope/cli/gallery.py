"""`optiscope gallery`: a static page for each rule."""

from __future__ import annotations

import click

from .. import console
from .options import common, split


@click.command()
@click.option("--rules", "chosen", help="Rules by name, separated by commas; all by default.")
@click.option("--gif", is_flag=True, help="Animate each rule on the first landscape too.")
@common
def gallery(chosen: str | None, gif: bool, as_json: bool, seed: int, out: str) -> None:
    """Write a page for each rule: formula, pictures, fields, mechanisms and code, in a folder to be put on the web."""
    from pathlib import Path

    from ..view.gallery import gallery

    names = None if chosen is None else split(chosen)
    tell = (lambda name: None) if as_json else (lambda name: click.echo(name, err=True))
    pages = gallery(Path(out) / "gallery", names, gif=gif, seed=seed, progress=tell)
    if as_json:
        console.print_json({"pages": [str(page) for page in pages]})
    else:
        click.echo(f"{len(pages) - 1} rules: {pages[0]}")
