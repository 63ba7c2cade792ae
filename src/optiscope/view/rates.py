"""How much the learning rate matters to each rule."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import BadInput
from ..lab import statistics
from ..lab.compare import Comparison
from . import style


def sensitivity(comparison: Comparison) -> Figure:
    """The interquartile mean of the loss at the end against the learning rate, every other setting as chosen.

    The dot is the rate that was chosen. A rate at which more than a quarter of the runs diverge has no such mean.

    Raises:
        BadInput: no learning rate was chosen.
    """
    if not any(entry.choice is not None and len(entry.choice.rates) for entry in comparison.entries):
        raise BadInput("no learning rate was chosen in this comparison, so none other was tried")
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(7, 4.5)
        axes = drawn.subplots()
        draw_rates(axes, comparison)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="best first", alignment="left")
    return drawn


def draw_rates(axes: Axes, comparison: Comparison) -> None:
    """The same into axes that are there, with no legend."""
    floor = comparison.task.optimum
    looks = style.lines(comparison.labels)
    drawn = []
    for entry in comparison.entries:
        if entry.choice is None or not len(entry.choice.rates):
            continue
        rates, look = entry.choice.rates, looks[entry.contender.label]
        middle = statistics.iqm(entry.choice.rate_scores) - (floor or 0.0)
        chosen = int(np.argmin(np.abs(np.log(rates / entry.contender.settings["lr"]))))
        drawn.append(middle)
        axes.plot(
            rates, np.where(np.isfinite(middle), middle, np.nan), label=style.plain(entry.contender.label), **look
        )
        axes.plot(rates[chosen], middle[chosen], "o", color=look["color"], markersize=5)
    axes.set_xscale("log")
    style.losses(axes, drawn, floor)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"loss at the end − {floor:.6g}, the least there is" if floor else "loss at the end")
