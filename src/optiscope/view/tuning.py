"""What tuning saw: the score against each field, and how fast random trials would have found it."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ..lab.tune import Study
from ..rules.spaces import LogUniform, OneMinusLogUniform
from . import style


def tuning_landscape(study: Study) -> Figure:
    """A panel for each tuned field, every trial a dot and the winner a star, and one for the best of k trials.

    A trial with a run that diverged has no score: it is a tick at the top, so that its place is seen.
    """
    with matplotlib.rc_context(style.SETTINGS):
        fields = list(study.settings)
        columns = min(3, len(fields) + 1)
        rows = -(-(len(fields) + 1) // columns)
        drawn = style.figure(3.6 * columns, 3.0 * rows)
        panels = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes, field in zip(panels, fields, strict=False):
            draw_field(axes, study, field)
        draw_best_after(panels[len(fields)], study)
        for axes in panels[len(fields) + 1 :]:
            axes.set_visible(False)
        drawn.suptitle(
            f"{study.best.name} on {style.plain(study.task.name)}: {len(study.scores)} trials", x=0.01, ha="left"
        )
    return drawn


def draw_field(axes: Axes, study: Study, field: str) -> None:
    """One such panel, into axes that are there."""
    values, scores, space = study.settings[field], study.scores, study.space[field]
    fine = np.isfinite(scores)
    axes.scatter(values[fine], scores[fine], 5, color=style.COLOURS[0], alpha=0.35, linewidth=0, rasterized=True)
    top = axes.get_xaxis_transform()
    place = np.full((~fine).sum(), 0.985)
    axes.plot(values[~fine], place, "|", color=style.COLOURS[1], alpha=0.3, transform=top, rasterized=True)
    star = study.best.numbers()[field]
    axes.plot(star, study.best_score, "*", color="black", markersize=10)
    if isinstance(space, OneMinusLogUniform):
        # 1 − β on a log axis, drawn leftwards, so that β still grows to the right.
        forward, backward = (lambda b: -np.log10(np.maximum(1 - b, 1e-12))), (lambda x: 1 - 10.0 ** (-x))
        axes.set_xscale("function", functions=(forward, backward))
        ticks = [tick for tick in (0, 0.9, 0.99, 0.999, 0.9999) if tick <= 1 - space.low]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    elif isinstance(space, LogUniform):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # within a decade its labels would run into each other
    style.losses(axes, [scores])
    axes.set_xlabel(f"{field} (explains {study.importance[field]:.0%} alone)")
    axes.set_ylabel(f"{study.score} score")


def draw_best_after(axes: Axes, study: Study) -> None:
    """The best of k trials, into axes that are there."""
    median, low, high = study.best_after.T
    k = np.arange(1, study.broad + 1)
    axes.plot(k, np.where(np.isfinite(median), median, np.nan), color=style.COLOURS[0])
    ceiling = np.where(np.isfinite(high), high, np.nanmax(np.where(np.isfinite(high), high, np.nan)))
    axes.fill_between(k, low, ceiling, color=style.COLOURS[0], alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    style.losses(axes, [median, low, ceiling])
    axes.set_xlabel("random trials")
    axes.set_ylabel("best score, median and 95 %")
