"""Trajectories on a landscape: a contour picture, still or moving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..atomic import replacing
from ..errors import BadInput
from ..lab.run import Runs
from ..tasks.landscapes import Landscape
from ..tasks.stationary import stationary_points
from . import style

MARKS = {"minimum": "*", "maximum": "^", "saddle": "X"}
RESOLUTION = 240
FRAMES = 80


@dataclasses.dataclass(frozen=True)
class Trace:
    """A rule's way over a landscape: the points (steps + 1, n) and the heights there (steps + 1,)."""

    label: str
    points: np.ndarray
    heights: np.ndarray


def trace(label: str, runs: Runs) -> Trace:
    """The way of the first seed of `runs`, which recorded its parameters."""
    return Trace(label, np.asarray(runs.params[0]), runs.loss[0])


def trajectories(landscape: Landscape, traces: Sequence[Trace]) -> Figure:
    """Every trajectory on the landscape's contours, its minima, maxima and saddles marked.

    A landscape of one variable is drawn as its curve. What leaves the box is cut off at its edge.

    Raises:
        BadInput: the landscape has more than two variables.
    """
    return _draw(landscape, traces)[0]


def animation(landscape: Landscape, traces: Sequence[Trace], path: Path) -> Path:
    """The same picture as a GIF in which the trajectories grow, at most 80 frames, written whole or not at all."""
    drawn, ways = _draw(landscape, traces)
    length = max(len(t.points) for t in traces)
    # Early steps are the long ones: frames are closer together there.
    frames = np.unique(np.rint(np.linspace(0, 1, FRAMES) ** 2 * (length - 1)).astype(int))

    def show(last: int) -> list[Any]:
        for way, (x, y) in ways:
            way.set_data(x[: last + 1], y[: last + 1])
        return [way for way, _ in ways]

    with matplotlib.rc_context(style.SETTINGS), replacing(path) as temporary:
        FuncAnimation(drawn, show, [*frames.tolist(), *[length - 1] * 10]).save(
            temporary, writer=PillowWriter(fps=15), dpi=80
        )
    return path


def _draw(landscape: Landscape, traces: Sequence[Trace]) -> tuple[Figure, list[tuple[Any, tuple]]]:
    if landscape.n > 2:
        raise BadInput(f"a picture of trajectories needs 1 or 2 variables, and {landscape.name} has {landscape.n}")
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(7.5, 5.5)
        axes = drawn.subplots()
        (_curve if landscape.n == 1 else _contours)(axes, landscape)
        looks = style.lines(t.label for t in traces)
        ways = []
        for t in traces:
            x, y = (t.points[:, 0], t.heights) if landscape.n == 1 else t.points.T
            look = {**looks[t.label], "marker": "o", "markersize": 2.5, "markevery": max(1, len(x) // 40)}
            (way,) = axes.plot(x, y, label=f"{style.plain(t.label)}: {t.heights[-1]:.3g}", linewidth=1.2, **look)
            ways.append((way, (x, y)))
        first = traces[0].points[0]
        start = (first[0], traces[0].heights[0]) if landscape.n == 1 else tuple(first)
        axes.plot(*start, "o", color="black", markersize=6, label="start")
        _mark_stationary(axes, landscape)
        axes.set_title(
            f"{style.plain(landscape.name)}: {len(traces[0].points) - 1} gradients, height at the end", loc="left"
        )
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside right upper", alignment="left")
    return drawn, ways


def _heights(landscape: Landscape, points: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(landscape.function))(points))


def _curve(axes: Axes, landscape: Landscape) -> None:
    x = np.linspace(landscape.low, landscape.high, 600)
    heights = _heights(landscape, x[:, None])
    axes.plot(x, heights, color="0.6", linewidth=1)
    axes.set(xlabel="x", ylabel="f(x)", xlim=(landscape.low, landscape.high))
    there = heights[np.isfinite(heights)]
    if there.size:
        margin = 0.08 * float(np.ptp(there))
        axes.set_ylim(there.min() - margin, there.max() + margin)


def _contours(axes: Axes, landscape: Landscape) -> None:
    side = np.linspace(landscape.low, landscape.high, RESOLUTION)
    x, y = np.meshgrid(side, side)
    heights = _heights(landscape, np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape)
    # A logarithm is not everywhere, and an exponential soon beyond all numbers: there the plane stays white.
    heights = np.ma.masked_invalid(heights)
    there = heights.compressed()
    # Quantiles as levels: a narrow valley shows as well as a wide bowl. Where all is flat there are none.
    levels = np.unique(np.quantile(there, np.linspace(0, 1, 26) ** 1.5)) if there.size else there
    if len(levels) > 1:
        shades = axes.contourf(
            x, y, heights, levels=levels, cmap="Greys", alpha=0.45, norm=matplotlib.colors.PowerNorm(0.35)
        )
        edges = axes.contour(x, y, heights, levels=levels, colors="0.55", linewidths=0.35)
        # As pixels within a vector picture too: as paths they would be nearly all of its bytes.
        shades.set_rasterized(True)
        edges.set_rasterized(True)
    axes.set(xlabel="x", ylabel="y", xlim=(landscape.low, landscape.high), ylim=(landscape.low, landscape.high))
    axes.set_aspect("equal")
    axes.grid(False)


def _mark_stationary(axes: Axes, landscape: Landscape) -> None:
    points = stationary_points(landscape)
    for kind, mark in MARKS.items():
        those = [p for p in points if p.kind == kind]
        if those:
            x = [p.x[0] for p in those]
            y = [p.value if landscape.n == 1 else p.x[1] for p in those]
            size = 60 if len(those) < 20 else 12
            axes.scatter(
                x, y, size, marker=mark, facecolor="white", edgecolor="black", linewidth=0.7, zorder=4, label=kind
            )
