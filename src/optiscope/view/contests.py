"""The paper's first figure: each task as a sketch above, the losses of learned and tuned rules below."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..learning.contest import Contest, Side
from ..tasks.contract import Task
from ..tasks.landscapes import Landscape
from ..tasks.quadratics import Quadratic
from ..tasks.supervised import Fit
from . import style


def contest_curves(contests: Sequence[Contest]) -> Figure:
    """A column a task: a sketch of a problem, and the mean loss ± one standard error over the unseen seeds.

    Losses are shares of each run's first (Maheswaranathan et al., 2021, figure 1). Where a seed has diverged there is
    no mean, and the curve stops.
    """
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(3.4 * len(contests), 5.2)
        rows = drawn.subplots(2, len(contests), squeeze=False, height_ratios=(1, 2))
        sides = dict.fromkeys(side.label for c in contests for side in (*c.baselines, *c.learned))
        looks = style.lines(sides)
        for (sketch, curves), contest in zip(rows.T, contests, strict=True):
            _sketch(sketch, contest.task)
            sketch.set_title(contest.task.name)
            for side in (*contest.baselines, *contest.learned):
                _curve(curves, side, {**looks[side.label], "linewidth": 2.2 if side in contest.learned else 1.1})
            curves.set_yscale("log", nonpositive="mask")
            curves.set_xlabel("step")
        rows[1][0].set_ylabel("loss over the first")
        handles = {h.get_label(): h for axes in rows[1] for h in axes.get_lines()}
        drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=round(1.4 * len(contests)))
    return drawn


def _curve(axes: Axes, side: Side, look: dict) -> None:
    with np.errstate(all="ignore"):  # where a run has diverged: no mean, no band
        shares = side.runs.loss.astype(float) / side.runs.loss[:, :1]
        mean, error = shares.mean(axis=0), shares.std(axis=0, ddof=1) / len(shares) ** 0.5
    axes.plot(side.runs.at, mean, label=style.plain(side.label), **look)
    axes.fill_between(side.runs.at, mean - error, mean + error, color=look["color"], alpha=0.2, linewidth=0)


def _sketch(axes: Axes, task: Task) -> None:
    """What a problem of the task looks like, where it can be seen."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    problem = task.sample(jax.random.key(0))
    if isinstance(task, Landscape | Quadratic):
        x, y = np.meshgrid(np.linspace(-2, 2, 80), np.linspace(-2, 2, 80))
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        if isinstance(task, Quadratic):
            heights = 0.5 * np.einsum("ni,ij,nj->n", points, np.diag([0.1, 1.0]), points)
        else:
            heights = np.asarray(jax.vmap(lambda p: task.function(p))(points))
        axes.contourf(x, y, np.log10(heights + 0.1).reshape(x.shape), levels=14, cmap="Blues_r")
    elif isinstance(problem, Fit) and problem.inputs.shape[1] == 2:
        x, y = np.asarray(problem.inputs[:400]).T
        axes.scatter(x, y, c=np.asarray(problem.targets[:400, 0]), s=3, cmap="coolwarm")
    elif isinstance(problem, Fit) and (side := round(problem.inputs.shape[1] ** 0.5)) ** 2 == problem.inputs.shape[1]:
        pictures = np.asarray(problem.inputs[:15]).reshape(3, 5, side, side)
        axes.imshow(np.vstack([np.hstack(list(row)) for row in pictures]), cmap="gray_r")
    else:
        axes.set_axis_off()
