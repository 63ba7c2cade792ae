"""A user's functions as the solvers take them, where JAX can trace them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .host import Host


class Calls(NamedTuple):
    """A user's functions as the solvers take them."""

    fun: Callable
    jac: Callable | None
    hvp: Callable | None
    given: tuple
    """What they are called with beside x."""
    host: Host | None = None
    """Where they run, if JAX cannot trace them."""

    def check(self) -> None:
        """Raise what they raised."""
        if self.host is not None and self.host.error is not None:
            raise self.host.error


def traced(
    fun: Callable, jac: Callable | None, hvp: Callable | None, x0: np.ndarray, args: tuple, kwargs: dict[str, Any]
) -> Calls | None:
    """The functions, if JAX can trace them: with their arguments passed, so that others need no new program, or held,
    if some are no arrays."""
    for wrap, given in ((_passed, (args, kwargs)), (functools.partial(_held, args, kwargs), ())):
        calls = Calls(wrap(fun), jac and wrap(jac), hvp and wrap(hvp), given)
        vectors = (calls.fun, [x0]), (calls.jac, [x0]), (calls.hvp, [x0, x0])
        if all(f is None or _traceable(f, xs, given) for f, xs in vectors):
            return calls
    return None


def _traceable(fun: Callable, vectors: list[np.ndarray], given: tuple) -> bool:
    with jax.enable_x64(vectors[0].dtype == np.float64):
        try:
            jax.eval_shape(fun, *vectors, *given)
        except Exception:
            # Whatever else may be wrong with it will show when it is called as it is.
            return False
        return True


@functools.lru_cache(maxsize=128)
def _passed(fun: Callable) -> Callable:
    def call(*given: Any) -> Any:
        *vectors, args, kwargs = given
        return fun(*vectors, *args, **kwargs)

    return call


def _held(args: tuple, kwargs: dict[str, Any], fun: Callable) -> Callable:
    return lambda *vectors: fun(*vectors, *args, **kwargs)


@functools.lru_cache(maxsize=128)
def part(both: Callable, k: int) -> Callable:
    """The value, or the gradient, of a function that returns both."""
    return lambda *given: both(*given)[k]


@functools.lru_cache(maxsize=128)
def product_with(hess: Callable) -> Callable:
    return lambda x, p, *given: jnp.asarray(hess(x, *given)) @ p


@functools.lru_cache(maxsize=128)
def number(fun: Callable) -> Callable:
    def one(*given: Any) -> Any:
        value = jnp.asarray(fun(*given))
        return value.reshape(()) if value.size == 1 else value

    return one


@functools.lru_cache(maxsize=128)
def vector(fun: Callable) -> Callable:
    return lambda *given, **kwargs: jnp.ravel(jnp.asarray(fun(*given, **kwargs)))
