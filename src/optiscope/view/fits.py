"""A fitted formula beside its data."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..solvers.formula import Fit
from . import style


def fitted(fit: Fit, column: str, columns: Mapping[str, np.ndarray]) -> Figure:
    """The response and the formula against one column above, the residuals below.

    Args:
        fit: what `fit` returned.
        column: the column along the horizontal axis.
        columns: the data, each of shape (rows,).
    """
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(7, 5.5)
        above, below = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        order = np.argsort(columns[column], kind="stable")
        x, y, model = (values[order] for values in (columns[column], columns[fit.response], fit.fitted))
        above.plot(x, y, "o", color="black", markersize=3.5, label=style.plain(fit.response))
        above.plot(x, model, color=style.COLOURS[0], label=fit.formula.text)
        above.set_ylabel(style.plain(fit.response))
        above.legend()
        below.axhline(0, color="0.6", linewidth=0.8)
        below.plot(x, y - model, "o", color=style.COLOURS[1], markersize=3)
        below.set(xlabel=column, ylabel=f"{style.plain(fit.response)} − formula")
    return drawn
