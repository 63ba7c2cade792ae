"""Stationary points of a landscape: found by Newton's method from a grid, named by the Hessian's eigenvalues."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from .landscapes import Landscape

ITERATIONS = 100
GRID = 64
NEAR = 1e-4
"""Points nearer than this, in widths of the box, are one."""
MOST = 1000
"""A plateau is stationary everywhere; so many of its points are enough."""


@dataclasses.dataclass(frozen=True)
class StationaryPoint:
    """A point where the gradient vanishes: where, how high, and of which kind."""

    x: tuple[float, ...]
    value: float
    kind: str
    """"minimum", "maximum" or "saddle"."""
    eigenvalues: tuple[float, ...]
    """The Hessian's, ascending."""


@functools.lru_cache(maxsize=64)
def stationary_points(landscape: Landscape) -> tuple[StationaryPoint, ...]:
    """The stationary points inside the landscape's box, lowest first.

    Where an eigenvalue vanishes the Hessian cannot tell, and the function's values on a small sphere do: all above,
    all below, or both. A known minimum that Newton cannot find, being a cusp, is listed without eigenvalues.

    Args:
        landscape: of one or two variables; the grid has 64 starts along each.

    Raises:
        BadInput: the landscape has more than two variables.
    """
    if landscape.n > 2:
        raise BadInput(f"stationary points are sought by a grid, in at most 2 dimensions, not {landscape.n}")
    span = landscape.high - landscape.low
    axis = np.linspace(landscape.low, landscape.high, GRID)
    with jax.enable_x64(True):
        starts = np.array(list(itertools.product(axis, repeat=landscape.n)))
        found, slopes, values, hessians = map(np.asarray, _newton(landscape.function, starts, span))
        inside = np.all((found >= landscape.low) & (found <= landscape.high), axis=1)
        scale = np.maximum(1.0, np.abs(hessians).max(axis=(1, 2)))
        good = np.flatnonzero(inside & (slopes < 1e-9 * scale * span))
        # One representative each: the one with the smallest gradient among those in the same small cell.
        good = good[np.argsort(slopes[good], kind="stable")]
        kept: list[int] = []
        while len(good) and len(kept) < MOST:
            kept.append(int(good[0]))
            good = good[np.abs(found[good] - found[good[0]]).max(axis=1) >= NEAR * span]
        points = [_describe(landscape, found[i], float(values[i]), hessians[i], span) for i in kept]
        points += [_cusp(landscape, x) for x in landscape.minima if not any(_near(x, p.x, span) for p in points)]
    return tuple(sorted(points, key=lambda p: (p.value, p.x)))


@functools.partial(jax.jit, static_argnums=0)
def _newton(f: Any, starts: jax.Array, span: float) -> tuple[jax.Array, ...]:
    gradient, hessian = jax.grad(f), jax.hessian(f)

    def step(x: jax.Array) -> jax.Array:
        curvature, axes = jnp.linalg.eigh(hessian(x))
        flat = jnp.abs(curvature) < 1e-12
        move = -axes @ (jnp.where(flat, 0.0, axes.T @ gradient(x) / jnp.where(flat, 1.0, curvature)))
        # No further than a tenth of the box: Newton's step is wild where the curvature changes sign.
        return x + move * jnp.minimum(1.0, 0.1 * span / jnp.maximum(jnp.linalg.norm(move), 1e-300))

    def one(x: jax.Array) -> tuple[jax.Array, ...]:
        x = jax.lax.fori_loop(0, ITERATIONS, lambda _, x: step(x), x)
        return x, jnp.linalg.norm(gradient(x)), f(x), hessian(x)

    return jax.vmap(one)(starts)


def _near(a: tuple[float, ...], b: tuple[float, ...], span: float) -> bool:
    return max(abs(p - q) for p, q in zip(a, b, strict=True)) < NEAR * span


def _cusp(landscape: Landscape, x: tuple[float, ...]) -> StationaryPoint:
    return StationaryPoint(x, float(landscape.function(jnp.array(x))), "minimum", ())


def _describe(landscape: Landscape, x: np.ndarray, height: float, hessian: np.ndarray, span: float) -> StationaryPoint:
    curvature = np.linalg.eigvalsh(hessian)
    signs = np.sign(np.where(np.abs(curvature) < 1e-6 * max(1.0, np.abs(curvature).max()), 0.0, curvature))
    if not signs.all():
        turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        sphere = np.stack([np.cos(turns), np.sin(turns)], axis=1) if landscape.n == 2 else np.array([[1.0], [-1.0]])
        around = jax.vmap(landscape.function)(x + 1e-2 * span * sphere)
        signs = np.sign(np.asarray(around) - height)
    kind = "minimum" if (signs >= 0).all() else "maximum" if (signs <= 0).all() else "saddle"
    # + 0.0 turns −0.0 into 0.0, which reads better.
    return StationaryPoint(tuple((np.round(x, 12) + 0.0).tolist()), height, kind, tuple(curvature.tolist()))
