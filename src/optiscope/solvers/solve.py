"""The front door: `minimize` and `least_squares`. A pytree enters, is solved as one vector, and leaves as a pytree."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput, unknown
from .gradient import CG, GD
from .least_squares import LM, Dogleg, GaussNewton, LeastSquares
from .newton import Newton, NewtonCG
from .problem import Params, Problem, Setting
from .programs import evaluated, program
from .quasi_newton import BFGS, LBFGS
from .solution import Solution
from .walk import Budget, Keep, Method

ENDLESS = 2**31 - 1
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

MINIMIZERS: dict[str, Method] = {
    "newton": Newton(),
    "newton-cg": NewtonCG(),
    "cg": CG(),
    "bfgs": BFGS(),
    "lbfgs": LBFGS(),
    "gd": GD(),
}
LEAST_SQUARES: dict[str, Method] = {"lm": LM(), "gauss-newton": GaussNewton(), "dogleg": Dogleg()}


def minimize(
    fun: Callable[..., Any],
    x0: Params,
    args: tuple = (),
    *,
    method: str | Method = "bfgs",
    jac: Callable[..., Any] | None = None,
    hvp: Callable[..., Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    tol: float | None = None,
    max_iterations: int = 1000,
    max_cost: int | None = None,
    history: bool | Literal["path"] = False,
) -> Solution:
    """A local minimum of `fun` near `x0`.

    Args:
        fun: (x, *args) → a number, written with `jax.numpy`. It may be +inf or NaN outside its domain. It is compiled
            once: what changes between calls belongs in args.
        x0: the start: a float32 or float64 array, or a pytree of such, whose precision everything then has.
        args: further arguments of fun, pytrees; a solution can be differentiated with respect to them.
        method: "newton", "newton-cg", "cg", "bfgs", "lbfgs" or "gd", or one with settings: `LBFGS(memory=20)`,
            `CG("pr+")`.
        jac: (x, *args) → the gradient, with x0's structure; by automatic differentiation if None.
        hvp: (x, v, *args) → the Hessian times v, with x0's structure; by automatic differentiation if None.
        bounds: (lower, upper), each None, a number for all, or of x0's structure; "lbfgs" alone takes them.
        tol: converged when no entry of the gradient exceeds tol · min(1, the largest at the start); by default the
            machine epsilon to the power ½, 1.5e-8 in float64. A minimum that rounding blurs before that counts as
            reached when the decrease still promised is lost in the value's rounding.
        max_iterations: how many steps may be taken.
        max_cost: how many gradients may be spent, at the prices of `Solution.cost`; the last step may exceed it.
        history: whether to keep a row for every iteration; "path" keeps x in it too.

    Returns:
        The solution, of NumPy arrays; under a JAX transformation, of its tracers. It never raises because the function
        is hard: `solution.status` says how it ended.

    Raises:
        BadInput: an argument is invalid, or fun does not return one number.
    """
    chosen = pick(method, MINIMIZERS, "minimize")
    check_bounds(chosen, method, bounds)
    return _solved(Setting(fun, chosen, jac, hvp), x0, args, bounds, tol, max_iterations, history, max_cost)


def least_squares(
    residual: Callable[..., Any],
    x0: Params,
    args: tuple = (),
    *,
    method: str | Method = "lm",
    jac: Callable[..., Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    tol: float | None = None,
    max_iterations: int = 1000,
    max_cost: int | None = None,
    history: bool | Literal["path"] = False,
) -> Solution:
    """A local minimum of ½ Σ r(x)² near `x0`, with the covariance of the parameters.

    Args:
        residual: (x, *args) → the residuals, an array or a pytree of arrays, written with `jax.numpy`.
        x0, args, max_iterations, max_cost, history: as in `minimize`. An iteration is a trial step, taken or not.
        method: "lm", "gauss-newton" or "dogleg", or one with settings: `LM(accelerate=True)`.
        jac: (x, *args) → the Jacobian: of shape residual.shape + x0.shape, for pytrees as `jax.jacobian` nests it; by
            automatic differentiation if None.
        bounds: (lower, upper), each None, a number for all, or of x0's structure; "lm" alone takes them.
        tol: converged when the residual is perpendicular to what the Jacobian spans, up to a cosine of tol (Bates &
            Watts, 1981), or the Gauss–Newton step is tol times as long as x, each variable in its Jacobian column's
            unit; by default the machine epsilon to the power ¾, 1.8e-12 in float64.

    Returns:
        The solution, as `minimize` does. Where residuals remain the Hessian of ½ Σ r² is computed once, at the end: J
        alone cannot tell a minimum from a saddle.

    Raises:
        BadInput: an argument is invalid, or the residuals are not real numbers.
    """
    chosen = pick(method, LEAST_SQUARES, "least_squares")
    check_bounds(chosen, method, bounds)
    return _solved(Setting(residual, chosen, jac), x0, args, bounds, tol, max_iterations, history, max_cost)


def pick(method: str | Method, known: dict[str, Method], entrance: str) -> Method:
    """The method behind a name, or the method itself, if it is of a kind that the entrance knows.

    Raises:
        BadInput: it is not.
    """
    named = known.get(method.lower()) if isinstance(method, str) else method
    if named is not None and isinstance(named, tuple(type(m) for m in known.values())):
        return named
    everywhere = MINIMIZERS | LEAST_SQUARES
    if named in everywhere.values() or (isinstance(method, str) and method.lower() in everywhere):
        raise BadInput(f"{method!r} is no method of {entrance}, which has {', '.join(known)}")
    raise unknown("method", method, known, f"the methods of {entrance}: {', '.join(known)}")


def check_bounds(chosen: Method, method: str | Method, bounds: Any) -> None:
    if bounds is not None and not isinstance(chosen, LBFGS | LM):
        raise BadInput(f"bounds are taken by the methods 'lbfgs' and 'lm' alone, not by {method!r}")


def _solved(
    setting: Setting,
    x0: Params,
    args: tuple,
    bounds: Any,
    tol: Any,
    max_iterations: int,
    history: bool | str,
    max_cost: int | None,
) -> Solution:
    setting, problem, traced = prepare(setting, x0, args, bounds, tol, max_iterations, history, max_cost)
    return program(setting)(problem) if traced else evaluated(setting, problem)


def prepare(
    setting: Setting,
    x0: Params,
    args: tuple,
    bounds: Any,
    tol: Any,
    max_iterations: int,
    history: bool | str = False,
    max_cost: int | None = None,
) -> tuple[Setting, Problem, bool]:
    """The checked problem, and whether JAX is tracing it."""
    if not callable(setting.fun):
        raise BadInput(f"the function must be callable, not {setting.fun!r}")
    if not isinstance(args, tuple):
        raise BadInput(f"args must be a tuple, not {type(args).__name__}; write args=(data,)")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int | np.integer) or max_iterations < 1:
        raise BadInput(f"max_iterations must be a whole number ≥ 1, not {max_iterations!r}")
    if max_cost is not None and (isinstance(max_cost, bool) or not 1 <= max_cost <= ENDLESS):
        raise BadInput(f"max_cost must be None or a number of gradients ≥ 1, not {max_cost!r}")
    if history not in (True, False, "path"):
        raise BadInput(f"history must be True, False or 'path', not {history!r}")
    leaves, structure = jax.tree.flatten(x0)
    traced = any(map(_is_traced, (*leaves, *jax.tree.leaves((args, bounds)))))
    leaves = [_floating(leaf) for leaf in leaves]
    if not leaves or not all(leaf.size for leaf in leaves):
        raise BadInput("x0 is empty: there is nothing to solve for")
    x0, dtype = jax.tree.unflatten(structure, leaves), max((leaf.dtype for leaf in leaves), key=FLOATS.index)
    if tol is None:
        tol = _epsilon(dtype) ** (3 / 4 if isinstance(setting.method, LeastSquares) else 1 / 2)
    elif not 0 <= float(tol) < 1:
        raise BadInput(f"tol must be a number in [0, 1), not {tol!r}")
    if bounds is not None:
        bounds = _bounds(bounds, x0, dtype)
        if not traced:
            _check_inside(x0, bounds)
    if args:
        args = jax.tree.map(functools.partial(argument, dtype), args)
    if history:
        setting = dataclasses.replace(setting, keep=Keep(int(max_iterations) + 1, history == "path"))
    return setting, Problem(x0, args, bounds, _budget(dtype, float(tol), max_iterations, max_cost or ENDLESS)), traced


@functools.cache
def _epsilon(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


@functools.lru_cache(maxsize=128)
def _budget(dtype: np.dtype, tol: float, max_iterations: int, max_cost: int) -> Budget:
    """Arrays that JAX has already, which a compiled function takes faster than NumPy's."""
    with jax.enable_x64(dtype == np.float64), jax.ensure_compile_time_eval():
        return Budget(jnp.asarray(tol, dtype), jnp.int32(max_iterations), jnp.int32(max_cost))


def _floating(leaf: Any) -> Any:
    if not isinstance(leaf, jax.core.Tracer):
        leaf = np.asarray(leaf)
    if leaf.dtype not in FLOATS:
        raise BadInput(
            f"x0 must hold float32 or float64 numbers, not {leaf.dtype}; write x0.astype(float), or 1.0 for 1"
        )
    return leaf


def argument(dtype: Any, leaf: Any) -> Any:
    """An argument in the precision of x0, if it is a floating array."""
    if isinstance(leaf, np.ndarray | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != dtype:
        return leaf.astype(dtype)
    return leaf


def _bounds(bounds: Any, x0: Params, dtype: Any) -> tuple[Any, Any]:
    try:
        lower, upper = bounds
        return _bound(lower, -np.inf, x0, dtype), _bound(upper, np.inf, x0, dtype)
    except (TypeError, ValueError):
        raise BadInput("bounds must be (lower, upper), each None, a number, or of x0's structure and shapes") from None


def _bound(bound: Any, none: float, x0: Params, dtype: Any) -> Any:
    """One side's bounds as a vector."""
    bound = none if bound is None else bound
    if jax.tree_util.all_leaves([bound]) and np.ndim(bound) == 0:
        bound = jax.tree.map(lambda _: bound, x0)
    leaves = jax.tree.leaves(jax.tree.map(functools.partial(_spread, dtype), bound, x0))
    return jnp.concatenate(leaves) if any(map(_is_traced, leaves)) else np.concatenate(leaves)


def _spread(dtype: Any, bound: Any, like: Any) -> Any:
    if _is_traced(bound):
        return jnp.broadcast_to(bound.astype(dtype), jnp.shape(like)).reshape(-1)
    return np.broadcast_to(np.asarray(bound, dtype), np.shape(like)).reshape(-1)


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.core.Tracer)


def _check_inside(x0: Params, bounds: tuple[Any, Any]) -> None:
    lower, upper = bounds
    x = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x0)])
    if np.any(lower > upper):
        i = int(np.argmax(lower > upper))
        raise BadInput(f"bounds: the lower bound {lower[i]:g} of variable {i} is above its upper bound {upper[i]:g}")
    outside = (x < lower) | (x > upper)
    if outside.any():
        i = int(np.argmax(outside))
        raise BadInput(f"x0 lies outside the bounds: variable {i} is {x[i]:g}, not in [{lower[i]:g}, {upper[i]:g}]")
