"""Robust losses: residuals bent so that ½ Σ of their squares is the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import BadInput, unknown
from ...solvers.walk import eps
from .functions import Calls, Same

LOSSES: dict[str, Callable[[Any], Any]] = {
    "soft_l1": lambda z: 2 / (1 + jnp.sqrt(1 + z)),
    "huber": lambda z: jnp.where(z <= 1, 1, (2 * jnp.sqrt(z) - 1) / z),
    "cauchy": lambda z: jnp.log1p(z) / z,
    "arctan": lambda z: jnp.arctan(z) / z,
}
"""ρ(z) / z for z > 0."""


def bent(calls: Calls, ratio: Callable, scale: Any) -> Calls:
    """The functions of the residuals whose plain squares are the loss."""
    jac = calls.jac and _bent_slopes(calls.fun, calls.jac, ratio)
    return calls._replace(fun=_bent(calls.fun, ratio), jac=jac, given=(scale, *calls.given))


@functools.lru_cache(maxsize=128)
def _bent(residual: Callable, ratio: Callable) -> Callable:
    return lambda x, scale, *given: _bend(residual(x, *given), scale, ratio)


@functools.lru_cache(maxsize=128)
def _bent_slopes(residual: Callable, slopes: Callable, ratio: Callable) -> Callable:
    def bent(x: Any, scale: Any, *given: Any) -> Any:
        r = residual(x, *given)
        _, steeper = jax.jvp(lambda r: _bend(r, scale, ratio), (r,), (jnp.ones_like(r),))
        return steeper[:, None] * jnp.asarray(slopes(x, *given)).reshape(r.size, -1)

    return bent


def _bend(r: Any, scale: Any, ratio: Callable) -> Any:
    z = (r / scale) ** 2
    small = z < eps(r) ** 2
    return r * jnp.sqrt(jnp.where(small, 1, ratio(jnp.where(small, 1, z))))


def ratio_of(loss: str | Callable) -> Callable:
    """ρ(z) / z of a loss.

    Raises:
        BadInput: there is no such loss, or JAX cannot trace it.
    """
    if not callable(loss):
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES, f"'linear', {', '.join(map(repr, LOSSES))}, or a function")
        return LOSSES[loss]
    ratio = _ratio(Same(loss))
    try:
        jax.eval_shape(ratio, jnp.ones(3))
    except Exception as error:
        raise BadInput("loss must be written with jax.numpy, and return ρ, ρ′ and ρ″ in its first axis") from error
    return ratio


@functools.lru_cache(maxsize=128)
def _ratio(loss: Same) -> Callable:
    return lambda z: jnp.asarray(loss.fun(z))[0] / z
