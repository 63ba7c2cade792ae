"""Performance profiles: who is fast how often, and who gets there at all."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..lab import statistics
from ..lab.compare import Comparison
from ..lab.suite import Suite
from . import style


def performance_profile(found: Comparison | Suite) -> Figure:
    """The share of problems on which each contender reaches the target within τ times the fastest one's evaluations.

    A problem is a seed of a task (Dolan & Moré, 2002).
    """
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(7, 4.5)
        axes = drawn.subplots()
        draw_profiles(axes, found.labels, found.costs)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="best first", alignment="left")
    return drawn


def draw_profiles(axes: Axes, labels: Sequence[str], costs: np.ndarray) -> None:
    """The same into axes that are there, with no legend.

    Args:
        labels: the contenders.
        costs: their evaluations to the target, infinite for a miss; shape (contenders, problems).
    """
    ratios = statistics.ratios(costs)
    reached = ratios[np.isfinite(ratios)]
    end = 1.1 * max(2.0, float(reached.max())) if reached.size else 2.0
    steps = np.append(np.unique(reached), end) if reached.size else np.array([1.0, end])
    for label, look, mine in zip(labels, style.lines(labels).values(), ratios, strict=True):
        axes.step(steps, statistics.profile(mine, steps), where="post", label=style.plain(label), **look)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlim=(1, end), ylim=(-0.02, 1.02))
    axes.set_xlabel("τ: evaluations to the target, over the fastest one's")
    axes.set_ylabel("share of problems within τ")
