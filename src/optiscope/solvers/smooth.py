"""A smooth function to minimise, and the tests that all its minimisers share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .walk import eps


class Smooth(NamedTuple):
    """The problem, for x of shape (n,)."""

    value: Callable[[Any], Any]
    value_and_grad: Callable[[Any], tuple[Any, Any]]
    hvp: Callable[[Any, Any], Any]
    """(x, v) → the Hessian at x times v."""
    lower: Any = None
    upper: Any = None
    """Bounds of shape (n,), or None."""

    def hessian(self, x: Any) -> Any:
        """The Hessian, (n, n), by a product for every variable."""
        return jax.vmap(functools.partial(self.hvp, x))(jnp.eye(x.size, dtype=x.dtype))

    def clipped(self, x: Any) -> Any:
        """The nearest point within the bounds."""
        return x if self.lower is None else jnp.clip(x, self.lower, self.upper)

    def projected(self, x: Any, g: Any) -> Any:
        """The gradient, as far as the bounds let one follow it."""
        return g if self.lower is None else x - self.clipped(x - g)

    def free(self, x: Any, g: Any) -> Any:
        """Which variables no bound holds."""
        if self.lower is None:
            return jnp.ones(x.size, bool)
        return ~(((x <= self.lower) & (g > 0)) | ((x >= self.upper) & (g < 0)))


def tolerance(tol: Any, largest: Any) -> Any:
    """The gradient that counts as zero: tol times the largest so far where that is less than 1.

    A function in small units would otherwise converge where it stands.
    """
    return tol * jnp.minimum(1.0, largest)


def bottomless(value: Any, first: Any, far: Any, near: Any) -> Any:
    """Whether the value has fallen so far, or x run so far from x₀ while it fell, that there is no least one.

    far and near are the largest entries of x and x₀.
    """
    deep = value < -jnp.maximum(1.0, jnp.abs(first)) / eps(value) ** 2
    return deep | (far > jnp.maximum(1.0, near) / eps(value) ** 2)
