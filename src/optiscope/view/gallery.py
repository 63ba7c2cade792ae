"""The gallery: a static page for each rule, made of the library's own declarations, runs and pictures."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import lab, rules, tasks
from ..atomic import folder as folder_of
from ..errors import BadInput
from ..explain.explanation import explain
from ..lab.compare import space_text
from ..rules.contract import Rule
from .mechanisms import mechanisms
from .page.code import snippets
from .page.written import written
from .style import save
from .trajectories import animation, trace, trajectories

LANDSCAPES = {"valley": (-4.0, 2.0), "rosenbrock": (-1.5, 1.5), "himmelblau": (-0.5, 4.2)}
"""The landscapes of the pictures, with the start on each: a long valley, a curved one, several minima."""


def gallery(
    folder: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    *,
    gif: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Write a page for each rule, with its formula, three pictures, its fields, its mechanisms and code, and an index.

    On each landscape the learning rate is the one that `walks` chooses. The pictures are files beside the pages.

    Args:
        folder: where to, made where it is not there.
        names: the rules; all by default.
        gif: animate each rule on the first landscape too.
        seed: of what the mechanisms are read from.
        progress: told each rule's name before its page is made.

    Returns:
        The pages, the index first.

    Raises:
        BadInput: there are no names, one is no rule's, or the folder cannot be written to.
    """
    made = [rules.rule(name) for name in (rules.names() if names is None else names)]
    if not made:
        raise BadInput("at least one rule is wanted; 'optiscope rules' lists them")
    out = folder_of(folder)
    index = [(rule.name, _lines(rule)[0]) for rule in made]
    pages = [written("gallery.html", out / "index.html", rule=None, index=index)]
    for rule in made:
        progress(rule.name)
        pages.append(written("gallery.html", out / f"{rule.name}.html", rule=_facts(rule, out, gif, seed), index=index))
    return pages


def _facts(rule: Rule, out: Path, gif: bool, seed: int) -> dict[str, Any]:
    found = explain(rule, tasks.task("quadratic"), seed=seed)
    variants = {name: " | ".join(map(str, choices)) for name, choices in rule.variants().items()}
    return {
        "name": rule.name,
        "title": _lines(rule)[0],
        "formula": inspect.cleandoc("\n".join(_lines(rule)[1:])),
        "fields": [
            *((name, getattr(rule, name), space_text(space)) for name, space in rule.hypers().items()),
            *((name, getattr(rule, name), choices) for name, choices in variants.items()),
        ],
        "pictures": [_picture(rule, name, start, out) for name, start in LANDSCAPES.items()],
        "moving": _moving(rule, out) if gif else None,
        "verdict": found.verdict,
        "mechanisms": save(mechanisms(found), out / f"{rule.name}-mechanisms.svg").name,
        "notes": found.notes,
        "code": snippets(rule),
    }


def _picture(rule: Rule, landscape: str, start: tuple[float, float], out: Path) -> dict[str, str]:
    place = tasks.task(landscape)
    ((contender, runs),) = lab.walks([rule.name], place, start=start)
    drawn = trajectories(place, [trace(contender.label, runs)])
    file = save(drawn, out / f"{rule.name}-{landscape}.svg").name
    rate = getattr(runs.rule, "lr", None)
    return {"file": file, "landscape": landscape, "rate": "" if rate is None else f"lr = {rate:.3g}"}


def _moving(rule: Rule, out: Path) -> str:
    landscape, start = next(iter(LANDSCAPES.items()))
    place = tasks.task(landscape)
    ((contender, runs),) = lab.walks([rule.name], place, start=start)
    return animation(place, [trace(contender.label, runs)], out / f"{rule.name}-{landscape}.gif").name


def _lines(rule: Rule) -> list[str]:
    return inspect.cleandoc(type(rule).__doc__ or rule.name).splitlines()
