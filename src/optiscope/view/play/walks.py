"""What the playground computes: the lab's own steps, compiled once for a rule's form, a landscape and a few sizes.

Every hyperparameter, the starts and the noise are traced: no drag compiles anything.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...lab.drive import cast, padded
from ...lab.engine import advance, begin, draw_batches, draw_starts
from ...rules.contract import Rule
from ...tasks.batches import Everything
from ...tasks.landscapes import Landscape, Place, bowl
from ...tasks.stationary import StationaryPoint, stationary_points
from .asks import STARTS, STEPS, Descent

LENGTHS, WIDTHS = (100, 500, STEPS), (1, STARTS)
"""The numbers of steps and of starts that programs are compiled for; a request's are rounded up, the rest cut off."""
SIDE = 64
"""The basin map starts from so many points along each side."""
HEIGHTS = 192
"""The contours are drawn from so many points along each side."""
NEAR = 0.02
"""A way has come to a minimum when it ends so near, in widths of the landscape's box."""


class Programs(NamedTuple):
    """What is compiled for one landscape: by JAX, for every form of rule and every size apart."""

    ways: Callable[..., Any]
    ends: Callable[..., Any]
    moments: Callable[..., Any]
    heights: Callable[..., Any]


# As many landscapes as are kept compiled: a typed one that nobody looks at any more gives its memory back.
@functools.lru_cache(maxsize=40)
def _programs(function: Callable[[Any], Any]) -> Programs:
    def steps(rule: Rule, start: Any, noise: Any, made: Callable[..., Any]) -> Any:
        problem = Place(start, function, Everything())

        def step(lane: Any, drawn: Any) -> Any:
            lane, moment = advance(rule, problem, lane, *drawn)
            return lane, made(lane, moment)

        return jax.lax.scan(step, begin(rule, start), (jnp.arange(len(noise), dtype=jnp.int32), noise))

    def way(rule: Rule, start: Any, noise: Any) -> Any:
        _, points = steps(rule, start, noise, lambda lane, moment: lane.params)
        points = jnp.concatenate([start[None], points])
        return points, jax.vmap(function)(points)

    def end(rule: Rule, start: Any, noise: Any) -> Any:
        return steps(rule, start, noise, lambda lane, moment: None)[0].params

    def moments(rule: Rule, start: Any, noise: Any) -> Any:
        return steps(rule, start, noise, lambda lane, moment: moment | {"params": lane.params})[1]

    over_starts = (None, 0, None)
    return Programs(
        ways=jax.jit(jax.vmap(way, over_starts)),
        ends=jax.jit(jax.vmap(end, over_starts)),
        moments=jax.jit(moments),
        heights=jax.jit(jax.vmap(function)),
    )


def ways(ask: Descent) -> list[tuple[np.ndarray, np.ndarray]]:
    """The way of each rule from each start: points (starts, steps + 1, 2) and heights (starts, steps + 1), float32."""
    starts = padded(ask.starts, _up(len(ask.starts), WIDTHS))
    cut = np.s_[: len(ask.starts), : ask.steps + 1]
    with jax.enable_x64(False):
        noise = _noise(ask, _up(ask.steps, LENGTHS))
        program = _programs(ask.landscape.function).ways
        # All are under way before the first is waited for.
        begun = [program(cast(rule, "float32"), starts, noise) for rule in ask.rules]
        return [(np.asarray(points)[cut], np.asarray(heights)[cut]) for points, heights in begun]


def basins(ask: Descent) -> np.ndarray:
    """Where the first rule ends from each point of a SIDE × SIDE grid, row by row from the low corner.

    The number of the minimum, in the order of `marks`, that it has come to; −1 where it is at none. Shape (SIDE, SIDE).
    """
    place = ask.landscape
    grid = _grid((place.low, place.high), (place.low, place.high), SIDE)
    with jax.enable_x64(False):
        # The whole bucket of steps: a basin is where a way ends in the long run.
        noise = _noise(ask, _up(ask.steps, LENGTHS))
        ends = np.asarray(_programs(place.function).ends(cast(ask.rules[0], "float32"), grid, noise))
    minima = np.array([point.x for point in marks(place) if point.kind == "minimum"]).reshape(-1, 2)
    if not len(minima):
        return np.full((SIDE, SIDE), -1)
    away = np.abs(ends[:, None, :] - minima).max(axis=2)
    # A NaN is near nothing, and so is what has diverged.
    there = np.nan_to_num(away, nan=np.inf).min(axis=1) < NEAR * (place.high - place.low)
    return np.where(there, np.nan_to_num(away, nan=np.inf).argmin(axis=1), -1).reshape(SIDE, SIDE)


def moment(ask: Descent, k: int) -> dict[str, Any]:
    """The first rule's step number `k`, from its first start: what it read, remembered and did.

    Returns "at" and "to" (2,), "grad" (2,), "step" (2,), "before" and "after", the states, and "signed", the names of
    what in them is a direction: of the point's shape, and somewhere on the way negative.
    """
    rule, start = cast(ask.rules[0], "float32"), ask.starts[0]
    with jax.enable_x64(False):
        noise = _noise(ask, _up(ask.steps, LENGTHS))
        made = jax.device_get(_programs(ask.landscape.function).moments(rule, start, noise))
        first = jax.device_get(rule.init(jnp.asarray(start), jnp))
    states = made["states"][0]
    return {
        "at": made["params"][k - 2] if k > 1 else start,
        "to": made["params"][k - 1],
        "grad": made["grads"][k - 1],
        "step": made["steps"][k - 1],
        "before": {name: array[k - 2] for name, array in states.items()} if k > 1 else first,
        "after": {name: array[k - 1] for name, array in states.items()},
        "signed": [name for name, array in states.items() if array.shape[1:] == (2,) and (array < 0).any()],
    }


def heights(place: Landscape, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """The heights on a HEIGHTS × HEIGHTS grid over x and y from, to, row by row from the low corner, float32."""
    with jax.enable_x64(False):
        return np.asarray(_programs(place.function).heights(_grid(x, y, HEIGHTS)))


def marks(place: Landscape) -> tuple[StationaryPoint, ...]:
    """The stationary points, lowest first."""
    return stationary_points(dataclasses.replace(place, noise=None))


def _grid(x: tuple[float, float], y: tuple[float, float], side: int) -> np.ndarray:
    along = [np.linspace(*ends, side, dtype=np.float32) for ends in (x, y)]
    return np.stack(np.meshgrid(*along), axis=-1).reshape(-1, 2)


def _noise(ask: Descent, steps: int) -> np.ndarray:
    scale = np.float32(ask.landscape.noise or 0.0)
    return scale * _unit_noise(ask.seed, steps) if scale else np.zeros((steps, 2), np.float32)


@functools.lru_cache(maxsize=64)
def _unit_noise(seed: int, steps: int) -> np.ndarray:
    """What the lab draws for this seed, at a noise of 1: the page's run is `osc.run`'s."""
    drawer, seeds = Landscape("noise", bowl, noise=1.0), np.array([seed])
    _, states = draw_starts(drawer, seeds)
    return np.asarray(_draw(drawer, seeds, states, np.int32(0), count=steps)[1][0])


_draw = jax.jit(draw_batches, static_argnames="count")


def _up(size: int, sizes: tuple[int, ...]) -> int:
    return next(s for s in sizes if s >= size)
