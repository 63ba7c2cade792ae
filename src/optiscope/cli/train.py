"""`optiscope train`: give a learned rule its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .. import console
from ..console import dumps, short
from ..errors import BadInput
from .options import common, store_path


@click.command()
@click.argument("network")
@click.option("--task", "family", required=True, help="A task, or a family that the network has a recipe for.")
@click.option("--steps", type=click.IntRange(1, 10**8), help="Outer steps; the recipe's own number by default.")
@click.option("--unroll", type=click.IntRange(1, 10**6), help="Inner steps a run; 200 by default.")
@click.option("--units", type=int, help="Units of a layer.")
@click.option("--layers", type=int, help="Layers.")
@click.option("--store", "given", help="File that keeps the training's log; runs.sqlite in --out by default.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files too.")
@common
def train(
    network: str, family: str, steps: int | None, unroll: int | None, units: int | None, layers: int | None,
    given: str | None, tensorboard: bool, as_json: bool, seed: int, out: str,
) -> None:  # fmt: skip
    """Train NETWORK (gru, lstm, rnn, lds, small-fc) to optimize a family of tasks: train gru --task rosenbrock.

    It goes on from where it was interrupted, if the same command is given again, and ends with the same weights.
    """
    from .. import atomic, learning

    recipe = learning.recipe(network, family)
    network, family = recipe.network, recipe.family  # as the files are called, however they were spelled
    rule = recipe.rule(seed, **{k: v for k, v in {"units": units, "layers": layers}.items() if v is not None})
    options = {} if unroll is None else {"unroll": unroll}
    folder = atomic.folder(out)
    stem = f"{network}-{family}"
    total = recipe.steps if steps is None else steps
    with console.training(total, quiet=as_json) as show, _events(folder / stem, tensorboard) as note:

        def progress(step: int, row: dict[str, Any] | None) -> None:
            show(step, row)
            if row is not None:
                note(row)

        checkpoint = folder / f"{stem}.checkpoint.safetensors"
        kept = {"checkpoint": checkpoint, "store": store_path(given, out)}
        made = recipe.train(rule, seed, steps=total, progress=progress, **kept, **options)
    card = {
        "network": network,
        "family": family,
        "architecture": rule.architecture,
        "taught": None if recipe.taught is None else repr(recipe.taught),
        "estimator": repr(recipe.estimator),
        "options": {"steps": total, "rate": recipe.rate, "clip": recipe.clip, **recipe.options, **options},
        "seed": seed,
        "validation": made.best["validation"],
        "best_step": made.best["step"],
        "rejected": made.rejected,
        "seconds": made.history[-1]["seconds"],
        "figures": [learning.figures(name, made.rule) for name in recipe.judged],
        "command": _command(network, family, seed, steps=steps, unroll=unroll, units=units, layers=layers),
    }
    learning.save(made.rule, folder / f"{stem}.safetensors", card)
    facts = {**card, "ended": made.ended, "history": list(made.history), "file": str(folder / f"{stem}.safetensors")}
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(dumps(facts))
    if as_json:
        console.print_json(facts)
        return
    best = made.best
    click.echo(f"{network} on {family}: {made.ended}; {made.rejected} rejected, {short(card['seconds'], 3)} s")
    score = short(math.inf if best["validation"] is None else best["validation"], 4)
    click.echo(
        f"best after {best['step']} steps: mean loss over the first {score} on held-out problems, "
        f"{best['diverged']} diverged"
    )
    for found in card["figures"]:
        mean = f"{short(found['mean_loss_over_first'], 4)} ± {short(found['standard_error'], 2)}"
        click.echo(f"{found['task']}, {found['seeds']} unseen seeds: {mean}, {found['diverged']} diverged")
    click.echo(f"\nrule: {facts['file']}\nits history: {folder / stem}.json")


def _command(network: str, family: str, seed: int, **given: int | None) -> str:
    """The command that makes the same weights, wherever it puts them."""
    options = [f"--{name} {number}" for name, number in given.items() if number is not None]
    return " ".join(["optiscope train", network, "--task", family, "--seed", str(seed), *options])


@contextmanager
def _events(folder: Path, wanted: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Where rows of the history go as TensorBoard events."""
    if not wanted:
        yield lambda row: None
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise BadInput("--tensorboard needs tensorboardX; pip install 'optiscope[tensorboard]'") from None
    with SummaryWriter(str(folder)) as writer:

        def note(row: dict[str, Any]) -> None:
            for name, number in row.items():
                if number is not None and name != "step":
                    writer.add_scalar(name, number, row["step"])

        yield note
