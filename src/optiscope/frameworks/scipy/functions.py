"""A user's functions as the solvers take them, where JAX can trace them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...solvers.solve import argument


class Calls(NamedTuple):
    """Functions of x, and what they are called with beside it."""

    fun: Callable
    jac: Callable | None
    hvp: Callable | None
    given: tuple


class Same:
    """A function as a key: itself alone, however it compares and whether or not it has a hash."""

    def __init__(self, fun: Callable):
        self.fun = fun
        self.parts = (fun.__func__, fun.__self__) if isinstance(fun, MethodType) else (fun,)

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and list(map(id, self.parts)) == list(map(id, other.parts))


Function = tuple[Callable, Callable]
"""A user's function, and what makes of its result what a solver wants."""


def traced(
    first: Any, fun: Function, jac: Function | None, hvp: Function | None, x0: np.ndarray, args: tuple, kwargs: Any
) -> Calls | None:
    """The functions, if `fun`, whose result at x0 was `first`, returns JAX's arrays and JAX can trace them all."""
    if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(first)):
        return None
    leaves, structure = jax.tree.flatten((args, kwargs))
    for numbers_too in (False, True):
        # With their types: True is 1 to a dict, but not to a function.
        held = tuple((k, type(x), x) for k, x in enumerate(leaves) if _is_held(x, numbers_too))
        passed = tuple(argument(x0.dtype, x) for x in leaves if not _is_held(x, numbers_too))
        try:
            wrapped = [f and _wrapped(Same(f[0]), f[1], structure, held) for f in (fun, jac, hvp)]
            with jax.enable_x64(x0.dtype == np.float64):
                for function, vectors in zip(wrapped, ([x0], [x0], [x0, x0]), strict=True):
                    if function is not None:
                        jax.eval_shape(function, *vectors, *passed)
        except Exception:  # what is wrong with it will show when it is called as it is
            continue
        return Calls(wrapped[0], wrapped[1], wrapped[2], passed)  # type: ignore[arg-type]  # the first is never None
    return None


def _is_held(leaf: Any, numbers_too: bool) -> bool:
    """Whether a function sees an argument as it is: all but arrays and numbers, or also numbers, which it may count
    with."""
    if isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return numbers_too
    return not isinstance(leaf, np.ndarray | jax.Array | np.number)


@functools.lru_cache(maxsize=128)
def _wrapped(same: Same, shaped: Callable, structure: Any, held: tuple[tuple[int, type, Any], ...]) -> Callable:
    """The function of (*vectors, *arrays), with the arguments that are held in their places."""
    fun = same.fun

    def call(*given: Any) -> Any:
        vectors = len(given) - (structure.num_leaves - len(held))
        leaves = list(given[vectors:])
        for k, _, leaf in held:
            leaves.insert(k, leaf)
        args, kwargs = jax.tree.unflatten(structure, leaves)
        return shaped(fun(*given[:vectors], *args, **kwargs))

    return call


def number(value: Any) -> Any:
    """The one number that a function returned."""
    value = jnp.asarray(value)
    return value.reshape(()) if value.size == 1 else value


def number_of(both: Any) -> Any:
    """The number of (number, gradient)."""
    return number(both[0])


def gradient_of(both: Any) -> Any:
    """The gradient of (number, gradient)."""
    return jnp.asarray(both[1])


def vector(value: Any) -> Any:
    """What a function returned, in a row."""
    return jnp.ravel(jnp.asarray(value))


@functools.lru_cache(maxsize=128)
def product_with(hess: Same) -> Callable:
    """(x, p, …) → the Hessian that a function gives, times p."""
    return lambda x, p, *args: jnp.asarray(hess.fun(x, *args)) @ p
