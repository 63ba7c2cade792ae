"""`optiscope reproduce`: the paper, from the training of its optimizers to the mechanisms found in them."""

from __future__ import annotations

import time
from typing import Any

import click

from .. import console
from ..console import dumps, short
from ..errors import unknown
from .options import common

QUICK = ("quadratic", "rosenbrock")


@click.command()
@click.option("--task", "families", multiple=True, help="A task of the paper's; all four by default.")
@click.option("--zoo", is_flag=True, help="Take the trained optimizers that come with the package; train none.")
@click.option("--trials", default=2500, show_default=True, type=click.IntRange(1, 2**20), help="Settings a baseline.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(2, 2**20), help="Unseen problems.")
@click.option("--quick", is_flag=True, help=f"Under 5 minutes: {' and '.join(QUICK)}, from the zoo.")
@common
def reproduce(
    families: tuple[str, ...], zoo: bool, trials: int, seeds: int, quick: bool, as_json: bool, seed: int, out: str
) -> None:
    """Train the paper's optimizers, tune their rivals, run all on unseen problems, take the trained ones apart, and
    rebuild them from what was found.

    Maheswaranathan et al., "Reverse engineering learned optimizers reveals known and novel mechanisms" (2021). It goes
    on from where it was interrupted, if the same command is given again.
    """
    from .. import atomic, learning, view
    from ..explain import explain, prove
    from ..explain.proof import REMOVABLE

    if quick:
        zoo, trials, seeds, families = True, min(trials, 256), min(seeds, 64), families or QUICK
    families = families or tuple(learning.FAMILIES)
    for family in families:
        if family not in learning.FAMILIES:
            raise unknown("task of the paper", family, learning.FAMILIES, f"the four: {', '.join(learning.FAMILIES)}")
    folder = atomic.folder(out)
    begun = time.perf_counter()

    def say(doing: str) -> None:
        click.echo(f"{time.perf_counter() - begun:6.0f} s  {doing}", err=True)

    if not zoo:
        minutes = sum(learning.card(f"gru-{family}")["seconds"] for family in families) / 60
        say(f"training took {minutes:.0f} minutes of a core when the zoo was made")
    contests, explanations, proofs = [], {}, {}
    for family in families:
        rule = learning.load(f"gru-{family}") if zoo else _trained(family, seed, folder, say)
        tell = lambda label, doing, family=family: say(f"{family}: {doing} {label}")  # noqa: E731
        store = folder / "runs.sqlite"
        contests.append(learning.contested(family, rule, trials=trials, seeds=seeds, store=store, progress=tell))
        say(f"{family}: taking it apart")
        explanations[f"gru-{family}"] = found = explain(rule, contests[-1].task)
        rivals = {side.label: side.rule for side in contests[-1].baselines}
        count = len(contests[-1].learned[0].scores)
        without = () if quick else REMOVABLE
        proofs[f"gru-{family}"] = prove(
            found, baselines=rivals, without=without, seeds=count, keep=folder, progress=tell
        )
    pictures = {"losses": view.save(view.contest_curves(contests), folder / "losses.svg")}
    for label, found in explanations.items():
        pictures[label] = view.save(view.figure(found), folder / f"mechanisms-{label}.svg")
    page = view.article(
        contests, explanations, folder / "article.html", seconds=time.perf_counter() - begun, proofs=proofs
    )
    verdicts = {label: found.verdict.sentence for label, found in explanations.items()}
    facts = {
        "contests": {c.task.name: {"steps": c.steps, "trials": c.trials, "rules": c.table} for c in contests},
        "verdicts": verdicts,
        "proofs": {label: proof.table for label, proof in proofs.items()},
        "pictures": {name: str(path) for name, path in pictures.items()},
        "article": str(page),
    }
    with atomic.replacing(folder / "article.json") as temporary:
        temporary.write_text(dumps(facts))
    if as_json:
        console.print_json(facts)
        return
    for contest in contests:
        click.echo(f"\n{contest.task.name}, {contest.steps} steps, {contest.trials} trials: {contest.sentence}")
        console.table(["rule", "mean ± s.e.", "median", "diverged", "gain [95 %]"], [_row(r) for r in contest.table])
    for label, sentence in verdicts.items():
        click.echo(f"\n{label}: {sentence}\n{proofs[label].sentence}")
    click.echo(f"\narticle: {page}")


def _row(row: dict[str, Any]) -> list[str]:
    gain = ""
    if "gain" in row:
        gain = f"{short(row['gain'], 3)} [{short(row['gain_low'], 3)}, {short(row['gain_high'], 3)}]"
    mean = f"{short(row['mean'], 4)} ± {short(row['standard_error'], 2)}"
    return [row["rule"], mean, short(row["median"], 4), str(row["diverged"]), gain]


def _trained(family: str, seed: int, folder: Any, say: Any) -> Any:
    from .. import learning

    recipe = learning.recipe("gru", family)
    say(f"{family}: training gru")

    def progress(step: int, row: dict[str, Any] | None) -> None:
        if row is not None and row["validation"] is not None:
            say(f"{family}: {short(row['validation'], 4)} on held-out problems at outer step {step}")

    kept = {"checkpoint": folder / f"gru-{family}.checkpoint.safetensors", "store": folder / "runs.sqlite"}
    return recipe.train(recipe.rule(seed), seed, progress=progress, **kept).rule
