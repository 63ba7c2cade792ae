"""Derivatives of a solution with respect to what the problem depends on, by the implicit function theorem.

Where the gradient G(x*, θ) vanishes, 0 = dG = H dx* + ∂G/∂θ dθ: one solve with the Hessian, whatever the iterations
were. A variable that a bound holds moves with the bound. With respect to the start the derivative is zero: a nearby
start leads to the same x*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def tangent(
    value: Callable[[Any, Any], Any], x: Any, args: Any, d_args: Any, bounds: Any, d_bounds: Any
) -> tuple[Any, Any]:
    """dx* and the change of the value that go with a change of the arguments.

    Args:
        value: (x, args) → the function, x of shape (n,).
        x: the solution.
        bounds: None, or (lower, upper) of shape (n,).
    """
    gradient = jax.grad(value)
    H = jax.jacfwd(gradient)(x, args)
    _, d_gradient = jax.jvp(lambda a: gradient(x, a), (args,), (d_args,))
    if bounds is None:
        dx = -jnp.linalg.solve(H, d_gradient)
    else:
        low, high = x <= bounds[0], x >= bounds[1]
        held = low | high
        along = jnp.where(low, d_bounds[0], 0) + jnp.where(high & ~low, d_bounds[1], 0)
        rows = jnp.where(held[:, None], jnp.eye(x.size, dtype=x.dtype), H)
        dx = jnp.linalg.solve(rows, jnp.where(held, along, -d_gradient))
    _, d_value = jax.jvp(value, (x, args), (dx, d_args))
    return dx, d_value
