"""The mechanisms of a rule, in the four figures of Maheswaranathan et al. (2021): where it rests, how it clips, the
schedule it keeps, how it adapts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..explain.explanation import Explanation, projected
from . import style

WIDTH, HEIGHT = 8.4, 3.1
MET, REST, TELL = "0.6", style.COLOURS[0], style.COLOURS[1]


def mechanisms(found: Explanation) -> Figure:
    """The four figures, one below the other, with the verdict as the title."""
    return _draw(found, *FIGURES.values())


def state_space(found: Explanation) -> Figure:
    """Visited states and fixed points along the farthest-reaching modes; the eigenvalues in the complex plane."""
    return _draw(found, FIGURES["states"])


def update_functions(found: Explanation) -> Figure:
    """The step against the gradient at rest and beside it, over the density of the gradients met."""
    return _draw(found, FIGURES["clipping"])


def autonomous(found: Explanation) -> Figure:
    """The effective learning rate of the rule left alone, with its fit; and the way of its state."""
    return _draw(found, FIGURES["schedule"])


def arms(found: Explanation) -> Figure:
    """The fixed points under constant gradients; the effective learning rate along both arms."""
    return _draw(found, FIGURES["adaptation"])


def _draw(found: Explanation, *rows: Callable[[Explanation, Axes, Axes], None]) -> Figure:
    with matplotlib.rc_context(style.SETTINGS):
        drawn = style.figure(WIDTH, HEIGHT * len(rows))
        for draw, (left, right) in zip(rows, drawn.subplots(len(rows), 2, squeeze=False), strict=True):
            draw(found, left, right)
        title = f"{found.rule.name} on {style.plain(found.task.name)}: {found.verdict.sentence}"
        drawn.suptitle(title, x=0.01, ha="left", fontsize=9, wrap=True)
    return drawn


def _states(found: Explanation, left: Axes, right: Axes) -> None:
    x, y = found.projections.T if len(found.projections) else np.zeros((2, 0))
    if y.any():
        left.plot(x, y, ".", color=MET, markersize=2, alpha=0.5, label="visited", rasterized=True)
        assert found.modes is not None
        for stable, mark, label in ((True, "*", "stable fixed point"), (False, "X", "unstable")):
            points = [p.h for p in found.dynamics.points if p.stable == stable]
            if points:
                at = projected(np.array(points), found.modes).T
                left.plot(*at, mark, color="black", markersize=11, linestyle="none", label=label)
        left.set_ylabel("second mode")
        left.legend(loc="best")
    elif x.any():
        left.hist(x, 60, color=MET, label="visited", density=True)
        left.axvline(0, color="black", label="fixed point")
        left.set_ylabel("density")
        left.legend(loc="best")
    else:
        _say(left, "no mode along which a state could be drawn")
    left.set_xlabel("state along the farthest-reaching mode")
    count = "a line of" if found.dynamics.line else len(found.dynamics.points)
    left.set_title(f"States ({count} fixed point{'s' * (count != 1)})")
    _eigenvalues(found, right)


def _eigenvalues(found: Explanation, axes: Axes) -> None:
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color="0.7", linewidth=0.8)
    if found.modes is not None:
        reach = np.array([m.reach for m in found.modes.modes])
        for mode, size in zip(found.modes.modes, 150 * reach / max(reach.max(), 1e-300), strict=True):
            colour = REST if mode.alpha.real >= 0 else TELL
            for beta in {mode.beta, mode.beta.conjugate()}:
                axes.scatter(beta.real, beta.imag, 4 + size, color=colour, alpha=0.6, linewidth=0)
    if found.heavy_ball is not None:
        axes.axvline(found.heavy_ball[1], color="black", linestyle=":", linewidth=1, label="heavy ball's best β")
        axes.legend(loc="lower left")
    axes.set_aspect("equal")
    axes.set(xlabel="Re β", ylabel="Im β", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    axes.set_title("Eigenvalues, by |α| / (1 − |β|)")


def _clipping(found: Explanation, left: Axes, right: Axes) -> None:
    clip = found.clipping
    for function, look in zip(clip.functions, style.lines(f.label for f in clip.functions).values(), strict=True):
        left.plot(function.grads, function.steps, label=function.label, **look)
    grid = clip.functions[0].grads
    for side, limit in zip((-1, 1), clip.linear, strict=True):
        if limit < grid[-1]:
            left.axvline(side * limit, color="0.7", linewidth=0.8, linestyle=":")
    left.set(xlabel="gradient g", ylabel="step S(h, g)")
    left.legend(loc="best", fontsize=7)
    left.set_title("Update function; dotted: the linear range")
    met = found.visits.grads[np.isfinite(found.visits.grads) & (found.visits.grads != 0)]
    if not met.size:
        _say(right, "no gradient but zero was met")
        return
    sizes = np.log10(np.abs(met))
    right.hist(sizes, 60, color=MET, density=True)
    for limit, name, colour in zip(
        (*clip.linear, clip.limit), ("linear, g < 0", "linear, g > 0", "limit"), style.COLOURS, strict=False
    ):
        if np.isfinite(limit) and limit > 0 and (name != "limit" or clip.present):
            right.axvline(np.log10(limit), color=colour, label=name)
    if right.lines:
        right.legend(loc="best", fontsize=7)
    right.set(xlabel="log₁₀ |g| of the gradients met", ylabel="density")
    low, high = clip.interval
    right.set_title(_wrapped(f"{clip.beyond:.1%} [{low:.1%}, {high:.1%}] beyond the linear range"))


def _schedule(found: Explanation, left: Axes, right: Axes) -> None:
    plan = found.schedule
    k = np.arange(len(plan.rates))
    left.plot(k, plan.rates, color=REST, label="− ∂S/∂g, left alone")
    if plan.fit is not None:
        left.plot(k, np.array([float(plan.fit(float(i), np)) for i in k]) * plan.begins, "--", color=TELL, label="fit")
    left.set(xlabel="step", ylabel="effective learning rate")
    left.set_ylim(bottom=min(0.0, 1.05 * float(np.nanmin(plan.rates))))
    left.legend(loc="best")
    left.set_title(_wrapped(plan.words[0].upper() + plan.words[1:]))
    way = found.rest.states - found.rest.states[-1]
    kept = np.ptp(way, axis=0).argsort()[::-1][:8]
    kept = kept[np.ptp(way, axis=0)[kept] > 0]
    if len(kept):
        right.plot(np.arange(len(way)), found.rest.states[:, kept], linewidth=1)
        right.legend([found.maps.names[i] for i in kept], loc="best", fontsize=7, ncols=2)
    else:
        _say(right, "the state stays where it begins")
    right.set(xlabel="step", ylabel="state")
    right.set_title("What moves most in the state, left alone")


def _adaptation(found: Explanation, left: Axes, right: Axes) -> None:
    curve = found.adaptation
    if len(curve.grads) < 2:
        _say(left, "no fixed point under a constant gradient")
        _say(right, "and so no rate along the arms")
        return
    centred = curve.states - curve.states.mean(axis=0)
    along = np.linalg.svd(centred, full_matrices=False)[2][0] @ centred.T if centred.any() else curve.steps
    unit = float(np.abs(curve.grads).min())
    for sign, colour in ((-1, TELL), (1, REST)):
        arm = np.sign(curve.grads) == sign
        left.plot(curve.grads[arm], along[arm], ".-", color=colour, markersize=3, label=f"g {'<>'[sign > 0]} 0")
        right.plot(np.abs(curve.grads[arm]), curve.rates[arm], ".-", color=colour, markersize=3)
    left.set_xscale("symlog", linthresh=unit)
    left.set_xticks([t for t in left.get_xticks() if abs(t) > 2 * unit or t == 0][::2])
    left.set(xlabel="constant gradient g", ylabel="h*(g), first principal component")
    left.legend(loc="best")
    left.set_title("Fixed points under a constant gradient")
    right.set_xscale("log")
    if (curve.rates > 0).all():
        right.set_yscale("log")
    right.set(xlabel="|g|", ylabel="effective learning rate")
    low, high = curve.interval
    right.set_title(f"Exponent {curve.exponent:.2g} [{low:.2g}, {high:.2g}]")


def _wrapped(title: str) -> str:
    return textwrap.fill(title, 42)


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color="0.4")


FIGURES = {"states": _states, "clipping": _clipping, "schedule": _schedule, "adaptation": _adaptation}
"""Each figure by what it shows; it draws a left and a right panel."""
