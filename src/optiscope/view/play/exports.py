"""What one takes away: the Python code that makes the same run, and the library's own picture of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...learning.zoo import zoo
from ..style import save
from ..trajectories import Trace, animation, trajectories
from . import walks
from .asks import Descent

TYPES = {"svg": "image/svg+xml", "gif": "image/gif"}


def code(ask: Descent) -> str:
    """Python that makes the run from the first start: each rule's points and heights, in `runs`, by name."""
    noise = f", noise={ask.landscape.noise!r}" if ask.landscape.noise else ""
    if ask.formula is None:
        task = f"task = osc.task({ask.landscape.name!r}{noise})"
    else:
        box = f"low={ask.landscape.low!r}, high={ask.landscape.high!r}"
        task = (
            f"formula = Formula({ask.formula!r})\n"
            f'task = Landscape("formula", lambda p: formula(x=p[0], y=p[1]), {box}{noise})'
        )
    imports = "import optiscope as osc\n"
    if ask.formula is not None:
        imports += "from optiscope.solvers.formula import Formula\nfrom optiscope.tasks import Landscape\n"
    made = "".join(f"    {_made(**entry)},\n" for entry in ask.given)
    start = [float(value) for value in ask.starts[0]]
    return (
        f"{imports}\n{task}\nrules = [\n{made}]\n"
        f"for rule in rules:\n"
        f"    run = osc.run(rule, task, steps={ask.steps}, seeds=[{ask.seed}], start={start!r}, record=['params'])\n"
        f"    print(rule.name, run.params[0, -1], run.loss[0, -1])\n"
    )


def _made(rule: str, fields: dict[str, Any] | None = None) -> str:
    """The Python of one rule."""
    settings = [f"{name}={value!r}" for name, value in (fields or {}).items()]
    if rule in zoo():
        return f"osc.load({rule!r})" + (f".replace({', '.join(settings)})" if settings else "")
    return f"osc.rule({', '.join([repr(rule), *settings])})"


def picture(ask: Descent, kind: str) -> bytes:
    """The ways from the first start on the contours: a still "svg" or a moving "gif"."""
    # Numbered, for the same rule may be there twice.
    traces = [
        Trace(f"{i} {entry['rule']}", points[0].astype(float), heights[0].astype(float))
        for i, (entry, (points, heights)) in enumerate(zip(ask.given, walks.ways(ask), strict=True), 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture.{kind}"
        if kind == "gif":
            animation(ask.landscape, traces, path)
        else:
            save(trajectories(ask.landscape, traces), path)
        return path.read_bytes()
