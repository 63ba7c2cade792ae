"""The accuracies of a comparison's rules while they learn."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import BadInput
from ..lab.compare import Comparison, Entry
from . import style


def accuracy_curves(comparison: Comparison) -> Figure:
    """The training accuracy, and the test accuracy beside it: means over the seeds against the epoch, a line a rule.

    Where every step sees all rows the axis counts steps. The legend has the means at the end.

    Raises:
        BadInput: the task classifies nothing.
    """
    recorded = comparison.entries[0].runs.metrics
    names = [name for name in ("train_accuracy", "test_accuracy") if name in recorded]
    if not names:
        raise BadInput(f"{comparison.task.name} is no task of classification, and its runs have no accuracies")
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(5 * len(names) + 2.5, 4.5)
        panels = drawn.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            _draw(axes, comparison, name)
        seeds = len(comparison.entries[0].runs.seeds)
        drawn.suptitle(f"{style.plain(comparison.task.name)}: mean of {seeds} seeds", x=0.01, ha="left")
        captions = [_caption(entry, names) for entry in comparison.entries]
        drawn.legend(panels[0].lines, captions, loc="outside right upper", alignment="left", title="best loss first")
    return drawn


def _draw(axes: Axes, comparison: Comparison, name: str) -> None:
    per_epoch = getattr(getattr(comparison.task, "batches", None), "per_epoch", None)
    looks = style.lines(comparison.labels)
    for entry in comparison.entries:
        runs = entry.runs
        axes.plot(runs.at / (per_epoch or 1), runs.metrics[name].mean(axis=0), **looks[entry.contender.label])
    axes.set_xlabel("epoch" if per_epoch else "step")
    axes.set_title(name.replace("_", " "), loc="left")


def _caption(entry: Entry, names: Sequence[str]) -> str:
    ends = " / ".join(f"{entry.runs.metrics[name][:, -1].mean():.1%}" for name in names)
    return f"{style.plain(entry.contender.label)}: {ends}"
