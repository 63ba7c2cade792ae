"""Loss curves of a comparison."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..lab.compare import Comparison
from . import style

TOP = 100.0
"""How far above the highest start a log axis of losses goes, in starts."""


def loss_curves(comparison: Comparison) -> Figure:
    """The mean loss of each rule against the step, with a band of one standard error, on a log axis.

    Losses below 0 have a plain one. Where the task's optimum is known the axis is the loss above it, or the curves
    would end in one line. A step at which any seed has diverged has no mean, and a rule's curve stops before it, most
    often above the picture's edge.
    """
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(9, 5)
        axes = drawn.subplots()
        draw_losses(axes, comparison)
        seeds = len(comparison.entries[0].runs.seeds)
        axes.set_title(f"{style.plain(comparison.task.name)}: mean of {seeds} seeds ± standard error", loc="left")
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="best first", alignment="left")
    return drawn


def draw_losses(axes: Axes, comparison: Comparison) -> None:
    """The same into axes that are there, with no legend."""
    floor = comparison.task.optimum
    looks = style.lines(comparison.labels)
    means = []
    for entry in comparison.entries:
        runs = entry.runs
        count = len(runs.loss)
        with np.errstate(invalid="ignore"):  # ∞ − ∞ where a run has diverged: no mean, no band, as said above
            mean = runs.loss.mean(axis=0, dtype=float) - (floor or 0.0)
            error = runs.loss.std(axis=0, ddof=1, dtype=float) / count**0.5 if count > 1 else np.zeros_like(mean)
        means.append(mean)
        look = looks[entry.contender.label]
        axes.plot(runs.at, mean, label=_caption(entry.contender.label, int(runs.diverged.sum())), **look)
        axes.fill_between(runs.at, mean - error, mean + error, color=look["color"], alpha=0.2, linewidth=0)
    start = max(mean[0] for mean in means)
    least = min(float(mean[np.isfinite(mean)].min(initial=np.inf)) for mean in means)
    log = style.losses(axes, means, floor)
    low, high = axes.get_ylim()
    if log:
        axes.set_ylim(top=min(high, TOP * start))
    elif start > least:
        # The band of a rule that diverges is wide below it too.
        axes.set_ylim(max(low, least - (start - least) / 4), min(high, 2 * start - least))
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss − {floor:.6g}, the least there is" if floor else "loss")


def _caption(label: str, diverged: int) -> str:
    label = style.plain(label)
    return f"{label} ({diverged} diverged)" if diverged else label
