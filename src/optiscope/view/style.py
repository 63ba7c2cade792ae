"""How the pictures look: one set of colours that colour-blind readers can tell apart, few lines, no ornament."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..atomic import replacing

# Okabe & Ito (2008), without the yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", ":", "-.")

SETTINGS: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "savefig.dpi": 160,
    "svg.hashsalt": "optiscope",
}


def lines(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour and a dash for each label, all pairs different up to 28 of them."""
    looks = itertools.cycle([{"color": c, "linestyle": d} for d in DASHES for c in COLOURS])
    return dict(zip(labels, looks, strict=False))


def plain(name: str) -> str:
    """A name of the user's as a text that is no formula, whatever dollars are in it."""
    return name.replace("$", r"\$")


def losses(axes: Axes, drawn: Iterable[np.ndarray], floor: float | None = None) -> bool:
    """A log axis for the losses that are drawn, less the `floor` where that is known; and whether it is one.

    Losses that go below 0, or never above, have no logarithm and are left on a plain axis.
    """
    seen = np.concatenate([np.ravel(each) for each in drawn])
    seen = seen[np.isfinite(seen)]
    # Below a known floor there is only rounding.
    log = bool((seen > 0).any() and (floor is not None or (seen >= 0).all()))
    if log:
        axes.set_yscale("log", nonpositive="mask")
    return log


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, bound to no window."""
    with matplotlib.rc_context(SETTINGS):
        return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: Path) -> Path:
    """Write a figure, as PNG, SVG or PDF by its ending, whole or not at all."""
    with matplotlib.rc_context(SETTINGS), replacing(path) as temporary:
        # The layout makes room for the labels of the ticks, which are chosen for the room: once more, and they agree.
        drawn.draw_without_rendering()
        drawn.savefig(temporary)
    return path
