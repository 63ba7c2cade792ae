"""The compiled solvers: from a problem to its solution."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..errors import BadInput
from .implicit import tangent
from .least_squares import LeastSquares
from .problem import Params, Problem, Setting
from .solution import Evaluations, Solution, Status
from .walk import Ended, Method, Walk

INTEGERS = 8
"""At the end of what `packed` gives: the status, the iterations, five counts, and whether the status is in doubt."""


@functools.lru_cache(maxsize=128)
def program(setting: Setting) -> Callable[[Problem], Solution]:
    """The compiled solver. Kept for the last 128 functions: a function made anew for every call is compiled anew."""
    return jax.jit(functools.partial(_solve, setting))


@functools.lru_cache(maxsize=128)
def packed(setting: Setting) -> Callable[[Problem], tuple[Any, Any]]:
    """The compiled solver with its numbers in one vector, and the history: every array that leaves a compiled function
    costs its microseconds, which are most of a small problem's. An end of least squares is still to be `examined`.
    """
    finish = setting.method.found if isinstance(setting.method, LeastSquares) else setting.method.finish

    def run(problem: Problem) -> tuple[Any, Any]:
        end, unravel = _walked(setting, problem, finish)
        floats = [end.x, end.value, end.gradient, end.gradient_norm, end.covariance, end.inverse_hessian]
        words = jax.lax.bitcast_convert_type(ravel_pytree(floats)[0], jnp.int32)
        return jnp.concatenate([words.reshape(-1), _integers(end)]), _history(end, unravel)

    return jax.jit(run)


@functools.lru_cache(maxsize=128)
def examined(setting: Setting) -> Callable[[Problem, Any], Any]:
    """The compiled examination of what `packed` gave: its integers anew. It takes as long to compile as half the
    solver, and ends without a residual need none.
    """
    method = cast(LeastSquares, setting.method)

    def run(problem: Problem, words: Any) -> Any:
        x0, unravel = ravel_pytree(problem.x0)
        n = x0.size
        integers, floats = words[-INTEGERS:], words[:-INTEGERS].reshape(-1, x0.itemsize // 4)
        floats = jax.lax.bitcast_convert_type(floats if x0.itemsize > 4 else floats[:, 0], x0.dtype)
        end = Ended(
            walk=Walk(integers[0], integers[1], integers[2:-1], None),
            x=floats[:n],
            value=floats[n],
            gradient=floats[n + 1 : 2 * n + 1],
            gradient_norm=floats[2 * n + 1],
            doubtful=True,
        )
        return _integers(method.examined(setting.oracle(unravel, problem.args, problem.bounds), end, x0))

    return jax.jit(run)


def _integers(end: Ended) -> Any:
    walk = end.walk
    return jnp.stack([walk.status, walk.iterations, *walk.counts, jnp.asarray(end.doubtful, jnp.int32)])


def evaluated(setting: Setting, problem: Problem) -> Solution:
    """The solution, of NumPy arrays; where JAX traces what calls this, of its tracers."""
    dtype = problem.budget.tol.dtype
    with jax.enable_x64(dtype == np.float64):
        words, history = _called(packed(setting), problem)
        if isinstance(words, jax.core.Tracer):
            return program(setting)(problem)
        numbers = np.asarray(words)
        integers = numbers[-INTEGERS:]
        if integers[-1]:
            integers = np.asarray(_called(examined(setting), problem, words))
    return _unpacked(setting.method, problem.x0, numbers[:-INTEGERS].view(dtype), integers.tolist(), history)


def _unpacked(method: Method, x0: Params, floats: np.ndarray, integers: list[int], history: Any) -> Solution:
    n = sum(leaf.size for leaf in jax.tree.leaves(x0))
    matrix = floats[2 * n + 2 :].reshape(n, n) if floats.size > 2 * n + 2 else None
    squares = isinstance(method, LeastSquares)
    status, iterations, *calls, cost, _ = integers
    if history is not None:
        history = jax.tree.map(lambda column: np.asarray(column)[: iterations + 1], history)
    return Solution(
        x=_unravelled(x0, floats[:n]),
        value=floats[n],
        gradient=_unravelled(x0, floats[n + 1 : 2 * n + 1]),
        gradient_norm=floats[2 * n + 1],
        status=Status(status),
        iterations=iterations,
        evaluations=Evaluations(*calls),
        cost=cost,
        covariance=matrix if squares else None,
        inverse_hessian=None if squares else matrix,
        history=history,
    )


def _unravelled(like: Params, vector: np.ndarray) -> Params:
    """A vector's numbers in the structure, the shapes and the precisions of another tree."""
    if isinstance(like, np.ndarray):
        return vector.reshape(like.shape)
    leaves, structure = jax.tree.flatten(like)
    parts = np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
    shaped = (part.reshape(leaf.shape).astype(leaf.dtype, copy=False) for part, leaf in zip(parts, leaves, strict=True))
    return jax.tree.unflatten(structure, shaped)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(setting: Setting, problem: Problem) -> Solution:
    return solution(*_walked(setting, problem, setting.method.finish))


def _walked(setting: Setting, problem: Problem, finish: Callable[[Any, Any], Ended]) -> tuple[Ended, Callable]:
    """The end, and what gives a vector x0's structure."""
    x, unravel = ravel_pytree(problem.x0)
    oracle = setting.oracle(unravel, problem.args, problem.bounds)
    state = setting.method.run(oracle, problem.budget, setting.method.begin(oracle, x, setting.keep))
    return finish(oracle, state), unravel


@_solve.defjvp
def _solve_jvp(setting: Setting, primals: Any, tangents: Any) -> tuple[Solution, Solution]:
    (problem,), (change,) = primals, tangents
    found = _solve(setting, problem)
    x, unravel = ravel_pytree(found.x)
    dx, d_value = tangent(
        lambda x, args: setting.value(unravel, args, x), x, problem.args, change.args, problem.bounds, change.bounds
    )
    zero = jax.tree.map(_zero_tangent, found)
    return found, dataclasses.replace(zero, x=unravel(dx), value=d_value)


def _zero_tangent(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _history(end: Ended, unravel: Callable) -> Any:
    history = end.walk.history
    if history is None or history.x is None:
        return history
    return history._replace(x=jax.vmap(unravel)(history.x))


def solution(end: Ended, unravel: Callable) -> Solution:
    return Solution(
        x=unravel(end.x),
        value=end.value,
        gradient=unravel(end.gradient),
        gradient_norm=end.gradient_norm,
        status=Status(end.walk.status),
        iterations=end.walk.iterations,
        evaluations=end.walk.evaluations,
        cost=end.walk.cost,
        covariance=end.covariance,
        inverse_hessian=end.inverse_hessian,
        history=_history(end, unravel),
    )


def call(function: Callable, *arguments: Any) -> Any:
    """A compiled function's result as NumPy arrays."""
    return jax.tree.map(np.asarray, _called(function, *arguments))


def _called(function: Callable, *arguments: Any) -> Any:
    """A compiled function's result; what a user's function cannot do under tracing, in a sentence."""
    try:
        return function(*arguments)
    except (jax.errors.TracerArrayConversionError, jax.errors.TracerBoolConversionError) as error:
        raise BadInput(
            "the function must be written with jax.numpy, and must not branch on its argument's value (use jnp.where): "
            f"{str(error).splitlines()[0]}"
        ) from error
    except (jax.errors.NonConcreteBooleanIndexError, jax.errors.ConcretizationTypeError) as error:
        raise BadInput(
            "the function's result must not change its length with x; give unwanted entries the weight 0 by jnp.where: "
            f"{str(error).splitlines()[0]}"
        ) from error
