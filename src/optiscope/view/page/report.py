"""The report of a comparison: one page that needs nothing else, not even a network."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...errors import BadInput
from ...lab.compare import Comparison, Entry, space_text
from ...lab.contenders import RuleContender
from ...lab.suite import Suite
from .. import style
from ..curves import draw_losses
from ..profiles import draw_profiles
from ..rates import draw_rates
from ..tuning import draw_best_after, draw_field
from .code import snippets
from .svg import inline
from .written import written


def report(found: Comparison | Suite, path: str | os.PathLike[str], *, command: str | None = None) -> Path:
    """Write what was found as one HTML page: the answer, the table, pictures, settings as code, and how it was made.

    Args:
        found: what `compare` or `suite` returned.
        path: the file, which is written whole or not at all.
        command: the command line that made it, where there is one.

    Raises:
        BadInput: `found` is neither, or the file cannot be written.
    """
    if not isinstance(found, Comparison | Suite):
        raise BadInput(f"a report is made of what osc.compare returns, not of a {type(found).__name__}")
    comparisons = found.comparisons if isinstance(found, Suite) else (found,)
    return written(
        "report.html",
        path,
        title=", ".join(c.task.name for c in comparisons),
        suite=_suite(found) if isinstance(found, Suite) else None,
        comparisons=[_comparison(c) for c in comparisons],
        manifest=_manifest(comparisons, command),
    )


def _suite(suite: Suite) -> dict[str, Any]:
    profile = functools.partial(draw_profiles, labels=suite.labels, costs=suite.costs)
    return {
        "sentence": suite.sentence,
        "rows": suite.table,
        "tasks": [c.task.name for c in suite.comparisons],
        "looks": _looks(suite.labels),
        "profile": inline(profile, "Performance profile over all tasks"),
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    name = found.task.name
    pictures = {
        "Loss": inline(functools.partial(draw_losses, comparison=found), f"Mean loss curves on {name}"),
        "Performance profile": inline(
            functools.partial(draw_profiles, labels=found.labels, costs=found.costs), f"Performance profile on {name}"
        ),
    }
    if any(entry.choice is not None and len(entry.choice.rates) for entry in found.entries):
        rates = functools.partial(draw_rates, comparison=found)
        pictures["Sensitivity to the learning rate"] = inline(rates, f"Loss at the end against learning rate on {name}")
    return {
        "name": name,
        "found": found,
        "rows": found.table,
        "looks": _looks(found.labels),
        "pictures": pictures,
        "contenders": [_contender(entry) for entry in found.entries],
    }


def _contender(entry: Entry) -> dict[str, Any]:
    choice, study = entry.choice, entry.choice.study if entry.choice else None
    landscapes = []
    if study is not None:
        for field in study.settings:
            draw = functools.partial(draw_field, study=study, field=field)
            landscapes.append(inline(draw, f"Score of every trial against {field}"))
        landscapes.append(inline(functools.partial(draw_best_after, study=study), "Best score after k trials"))
    contender = entry.contender
    return {
        "label": contender.label,
        "settings": {name: number for name, number in contender.settings.items() if number is not None},
        "space": {name: space_text(space) for name, space in choice.space.items()} if choice else {},
        "choice": choice,
        "landscapes": landscapes,
        "code": snippets(contender.rule) if isinstance(contender, RuleContender) else {},
    }


def _looks(labels: Any) -> dict[str, Markup]:
    """A stroke in each contender's colour and dash: the legend of every picture."""
    dashes = {"-": "", "--": "7 3", ":": "2 3", "-.": "7 3 2 3"}
    stroke = Markup('<svg class="look" viewBox="0 0 28 8" aria-hidden="true"><path d="M1 4h26" stroke="{}" {}/></svg>')
    return {
        label: stroke.format(
            "currentColor" if look["color"] == "#000000" else look["color"],
            Markup('stroke-dasharray="{}"').format(dashes[look["linestyle"]]) if look["linestyle"] != "-" else "",
        )
        for label, look in style.lines(labels).items()
    }


def _manifest(comparisons: Any, command: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"command": command} if command else {}
    for found in comparisons:
        seeds = found.entries[0].runs.seeds
        facts[f"{found.task.name}: evaluation seeds"] = f"{seeds.min()} to {seeds.max()} ({len(seeds)})"
        facts[f"{found.task.name}: steps, precision"] = (
            f"{found.steps}, {found.dtype} (x64 {'on' if found.dtype == 'float64' else 'off'})"
        )
        facts[f"{found.task.name}: settings"] = _settings(found.task)
    return {**facts, **{name: fact for name, fact in comparisons[0].environment.items() if fact != ""}}


def _settings(task: Any) -> str:
    fields = {f.name: getattr(task, f.name) for f in dataclasses.fields(task)}
    plain = {k: v for k, v in fields.items() if isinstance(v, str | int | float | bool | tuple) and k != "name"}
    return ", ".join(f"{k} {v}" for k, v in plain.items()) or "the defaults"
