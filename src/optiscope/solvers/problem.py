"""A problem as a user states it, made one that a method can walk on: functions of a vector."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..errors import BadInput
from .least_squares import LeastSquares, Residual
from .smooth import Smooth
from .walk import Budget, Keep, Method

Params = Any
"""A pytree of float32 or float64 arrays."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a program is compiled for."""

    fun: Callable
    method: Method
    jac: Callable | None = None
    hvp: Callable | None = None
    keep: Keep | None = None
    """The history, or None."""

    def oracle(self, unravel: Callable, args: tuple, bounds: Any) -> Any:
        """The problem as the method sees it, a function of a vector."""
        value = functools.partial(self.value, unravel, args)
        both: Callable = jax.value_and_grad(value)
        gradient: Callable = jax.grad(value)
        if self.jac is not None and not isinstance(self.method, LeastSquares):
            gradient = functools.partial(_like, self.jac, unravel, args)
            both = functools.partial(_each, value, gradient)
        hvp: Callable = functools.partial(_along, gradient)
        if self.hvp is not None:
            hvp = functools.partial(_like, self.hvp, unravel, args)
        smooth = Smooth(value, both, hvp, *((None, None) if bounds is None else bounds))
        if not isinstance(self.method, LeastSquares):
            return smooth
        residual = functools.partial(self._residual, unravel, args)
        return Residual(residual, functools.partial(self._linearize, residual, unravel, args), smooth)

    def value(self, unravel: Callable, args: tuple, x: Any) -> Any:
        """The function of the vector; for least squares ½ Σ r²."""
        if isinstance(self.method, LeastSquares):
            return jnp.sum(self._residual(unravel, args, x) ** 2) / 2
        return _scalar(self.fun(unravel(x), *args), x)

    def _residual(self, unravel: Callable, args: tuple, x: Any) -> Any:
        return _residual(self.fun(unravel(x), *args), x)

    def _linearize(self, residual: Callable, unravel: Callable, args: tuple, x: Any) -> tuple[Any, Any]:
        if self.jac is not None:
            shapes = jax.eval_shape(lambda x: self.fun(unravel(x), *args), x), unravel(x)
            outs, ins = ([leaf.size for leaf in jax.tree.leaves(tree)] for tree in shapes)
            return residual(x), _jacobian(self.jac(unravel(x), *args), outs, ins).astype(x.dtype)
        if x.size <= 2 * jax.eval_shape(residual, x).size:
            push = functools.partial(jax.jvp, residual, (x,))
            return jax.vmap(lambda v: push((v,)), out_axes=(None, 1))(jnp.eye(x.size, dtype=x.dtype))
        r, pull = jax.vjp(residual, x)
        return r, jax.vmap(lambda v: pull(v)[0])(jnp.eye(r.size, dtype=x.dtype))


class Problem(NamedTuple):
    """The numbers of a problem."""

    x0: Params
    args: tuple
    bounds: Any
    """None, or (lower, upper), each a vector."""
    budget: Budget


def _each(f: Callable, g: Callable, x: Any) -> tuple[Any, Any]:
    return f(x), g(x)


def _along(f: Callable, x: Any, v: Any) -> Any:
    """The derivative of f along v."""
    return jax.jvp(f, (x,), (v,))[1]


def _scalar(value: Any, x: Any) -> Any:
    value = jnp.asarray(value)
    if value.shape != ():
        raise BadInput(
            f"fun must return one number, not an array of shape {value.shape}; "
            "for a sum of squares use least_squares(fun, x0)"
        )
    return _real(value, "fun").astype(x.dtype)


def _residual(r: Any, x: Any) -> Any:
    r, _ = ravel_pytree(r)
    if r.size == 0:
        raise BadInput("residual returned nothing: at least one number is wanted")
    return _real(r, "residual").astype(x.dtype)


def _real(array: Any, what: str) -> Any:
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise BadInput(
            f"{what} must return real numbers, not {array.dtype}; return real and imaginary parts side by side"
        )
    return array


def _like(function: Callable, unravel: Callable, args: tuple, *vectors: Any) -> Any:
    """The vector that a user's gradient or product gives for vectors, all in x0's structure there."""
    out, _ = ravel_pytree(function(*map(unravel, vectors), *args))
    if out.shape != vectors[0].shape:
        raise BadInput(f"jac and hvp must return x0's structure, {vectors[0].size} numbers, not {out.size}")
    return out.astype(vectors[0].dtype)


def _jacobian(J: Any, outs: list[int], ins: list[int]) -> Any:
    """The Jacobian as a matrix (m, n), from blocks nested as `jax.jacobian` nests them."""
    blocks = iter(jax.tree.leaves(J))
    shapes = [jnp.shape(block) for block in jax.tree.leaves(J)]
    if [math.prod(shape) for shape in shapes] != [m * n for m in outs for n in ins]:
        raise BadInput(
            f"jac must return {sum(outs)} × {sum(ins)} numbers, of shape residual.shape + x0.shape, not {shapes}"
        )
    return jnp.block([[jnp.reshape(next(blocks), (m, n)) for n in ins] for m in outs])
