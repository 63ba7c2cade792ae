"""`optiscope explain`: the mechanisms of a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .. import console
from ..console import short
from .options import batch_setting, common

if TYPE_CHECKING:
    from ..explain import Explanation
    from ..rules import Rule


@click.command()
@click.argument("rule")
@click.option("--task", default="quadratic", show_default=True, help="What the rule is run on.")
@click.option("--batch", help="Rows a step sees: a number, or 'all'.")
@click.option("--format", "ending", default="png", show_default=True, type=click.Choice(["png", "svg", "pdf"]))
@click.option("--prove", "proven", is_flag=True, help="Rebuild it, whole and without each mechanism: minutes.")
@common
def explain(
    rule: str, task: str, batch: str | None, ending: str, proven: bool, as_json: bool, seed: int, out: str
) -> None:
    """Take RULE apart: its momentum, clipping, schedule and adaptation, read off its dynamics.

    RULE is one of 'optiscope rules', such as adam:lr=0.01; a trained one of the zoo; or a file that osc.save wrote.
    """
    from .. import atomic, tasks, view
    from ..explain import explanation, prove

    made = tasks.task(task, **batch_setting(batch))
    folder = atomic.folder(out)
    found = explanation.explain(_rule(rule), made, seed=seed)
    stem = f"explain-{found.rule.name}-{made.name}"
    picture = view.save(view.figure(found), folder / f"{stem}.{ending}")
    facts = {**_facts(found), "picture": str(picture)}
    proof = prove(found, keep=folder, progress=_say) if proven else None
    if proof is not None:
        facts |= {"proof": proof.table, "proof_sentence": proof.sentence}
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(console.dumps(facts), encoding="utf-8")
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{found.rule.name} on {made.name}: {found.verdict.sentence}\n")
    rows = [[f.mechanism, "yes" if f.present else "no", _figures(f), f.evidence] for f in found.verdict.findings]
    console.table(["mechanism", "there", "figures", "evidence"], rows)
    if found.stability is not None:
        predicted, measured = short(found.stability.predicted), short(found.stability.measured)
        click.echo(f"largest stable curvature: {predicted} by the modes, {measured} measured")
    if found.heavy_ball is not None:
        alpha, beta = found.heavy_ball
        click.echo(f"heavy ball at its best for this spectrum: momentum {short(beta, 4)} with rate {short(alpha, 4)}")
    for note in found.notes:
        click.echo(f"note: {note}")
    if proof is not None:
        click.echo(f"\n{proof.sentence}")
        heads = ["rule", "mean ± s.e.", "diverged", "share of the gain [95 %]", "times the rebuilt's score"]
        console.table(heads, list(map(_share, proof.table)))
    click.echo(f"\npicture: {picture}\nall numbers: {folder / stem}.json")


def _rule(text: str) -> Rule:
    """A rule by its name and fields, or a trained one by its name or file."""
    from .. import learning, rules

    if text in learning.zoo() or text.endswith(".safetensors"):
        return learning.load(text)
    return rules.parse(text)[0]


def _say(label: str, doing: str) -> None:
    click.echo(f"{doing} {label}", err=True)


def _share(row: dict[str, Any]) -> list[str]:
    share = f"{short(row['share'], 3)} [{short(row['low'], 3)}, {short(row['high'], 3)}]"
    cost = ""
    if "cost" in row:
        cost = f"{short(row['cost'], 3)} [{short(row['cost_low'], 3)}, {short(row['cost_high'], 3)}]"
    mean = f"{short(row['mean'], 4)} ± {short(row['standard_error'], 2)}"
    return [row["rule"], mean, str(row["diverged"]), share, cost]


def _figures(finding: Any) -> str:
    told = []
    for name, number in finding.figures.items():
        between = finding.intervals.get(name)
        told.append(
            f"{name} {short(number, 4)}" + (f" [{short(between[0], 3)}, {short(between[1], 3)}]" if between else "")
        )
    return "\n".join(told)


def _facts(found: Explanation) -> dict[str, Any]:
    modes = [] if found.modes is None else found.modes.modes
    return {
        "rule": found.rule.name,
        "task": found.task.name,
        "sentence": found.verdict.sentence,
        "mechanisms": found.verdict.table,
        "fixed_points": [
            {"residual": p.residual, "stable": p.stable, "reached": p.reached, "spread": p.spread, "drift": p.drift}
            for p in found.dynamics.points
        ],
        "starts": found.dynamics.starts,
        "modes": [{"beta": [m.beta.real, m.beta.imag], "alpha": [m.alpha.real, m.alpha.imag]} for m in modes],
        "conditioning": None if found.modes is None else found.modes.condition,
        "heavy_ball": found.heavy_ball,
        "schedule": found.schedule.rates.tolist(),
        "adaptation": {
            "gradients": found.adaptation.grads.tolist(),
            "rates": found.adaptation.rates.tolist(),
            "residuals": found.adaptation.residuals.tolist(),
        },
        "symmetries": vars(found.symmetries),
        "stability": None
        if found.stability is None
        else {"predicted": found.stability.predicted, "measured": found.stability.measured},
        "notes": list(found.notes),
    }
