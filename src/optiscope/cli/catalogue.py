"""`optiscope rules` and `optiscope tasks`: what there is."""

from __future__ import annotations

from typing import Any

import click

from .. import console
from .options import common


@click.command("rules")
@click.argument("name", required=False)
@common
def rules_command(name: str | None, as_json: bool, seed: int, out: str) -> None:
    """List the rules, or describe one: its formula, fields, search spaces and presets."""
    from .. import rules

    made = [rules.rule(n) for n in ([name] if name else rules.names())]
    if as_json:
        console.print_json([_rule_facts(rule) for rule in made])
    elif name:
        _print_rule(made[0])
    else:
        console.table(["rule", "what it is"], [[rule.name, headline(rule)] for rule in made])


def space_text(space: Any) -> str:
    return f"{type(space).__name__}({space.low:g}, {space.high:g})"


def headline(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _rule_facts(rule: Any) -> dict[str, Any]:
    spaces = {k: {"kind": type(s).__name__, "low": s.low, "high": s.high} for k, s in rule.hypers().items()}
    return {
        "name": rule.name,
        "aliases": list(rule.aliases),
        "summary": headline(rule),
        "hyperparameters": {k: {"default": getattr(rule, k), "space": space} for k, space in spaces.items()},
        "variants": {k: list(choices) for k, choices in rule.variants().items()},
        "presets": {k: dict(v) for k, v in rule.presets.items()},
    }


def _print_rule(rule: Any) -> None:
    import inspect

    facts = _rule_facts(rule)
    aliases = f" (also {', '.join(rule.aliases)})" if rule.aliases else ""
    click.echo(f"{rule.name}{aliases}\n\n{inspect.getdoc(rule)}\n")
    rows = [
        [k, str(h["default"]), f"{h['space']['kind']}({h['space']['low']:g}, {h['space']['high']:g})"]
        for k, h in facts["hyperparameters"].items()
    ]
    rows += [[k, str(choices[0]), " | ".join(map(str, choices))] for k, choices in facts["variants"].items()]
    console.table(["field", "default", "search space or choices"], rows)
    for framework, settings in facts["presets"].items():
        click.echo(f"as in {framework}: " + (", ".join(f"{k}={v}" for k, v in settings.items()) or "the defaults"))


@click.command("tasks")
@click.argument("name", required=False)
@common
def tasks_command(name: str | None, as_json: bool, seed: int, out: str) -> None:
    """List the tasks, or describe one: its settings, optimum and stationary points."""
    from .. import tasks

    facts = [_task_facts(n, whole=bool(name)) for n in ([name] if name else tasks.names())]
    if as_json:
        console.print_json(facts)
    elif not name:
        console.table(["task", "what it is"], [[f["name"], f["summary"]] for f in facts])
    else:
        (fact,) = facts
        click.echo(f"{fact['name']}: {fact['summary']}\n")
        click.echo("settings: " + (", ".join(f"{k}={v}" for k, v in fact["settings"].items()) or "none"))
        click.echo(f"steps unless told otherwise: {fact['steps']}")
        click.echo(f"least loss: {'not known' if fact['optimum'] is None else format(fact['optimum'], '.6g')}")
        points = fact["stationary_points"]
        if points:
            click.echo(f"\nstationary points ({len(points)}):")
            rows = [[p["kind"], ", ".join(f"{v:.6g}" for v in p["x"]), f"{p['value']:.6g}"] for p in points]
            console.table(["kind", "at", "value"], rows)


def _task_facts(name: str, *, whole: bool) -> dict[str, Any]:
    import dataclasses
    import inspect

    from .. import tasks

    make = tasks.factory(name)
    facts: dict[str, Any] = {"name": tasks.spelled(name), "summary": headline(make)}
    if whole:
        task = tasks.task(name)
        parameters = inspect.signature(make).parameters.values()
        facts["settings"] = {p.name: p.default for p in parameters}
        facts["steps"], facts["optimum"] = task.steps, task.optimum
        seen = isinstance(task, tasks.Landscape) and task.n <= 2
        facts["stationary_points"] = [dataclasses.asdict(p) for p in tasks.stationary_points(task)] if seen else []
    return facts
