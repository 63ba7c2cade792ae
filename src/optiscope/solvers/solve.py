"""The front door: `minimize` and `least_squares`. A pytree enters, is solved as one vector, and leaves as a pytree."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..errors import BadInput, unknown
from .gradient import CG, GD
from .implicit import tangent
from .least_squares import LM, Dogleg, GaussNewton, LeastSquares, Residual
from .newton import Newton, NewtonCG
from .quasi_newton import BFGS, LBFGS
from .smooth import Smooth
from .solution import Evaluations, Solution, Status
from .walk import Budget, Ended, Keep, Method, Walk

ENDLESS = 2**31 - 1

Params = Any
"""A pytree of float32 or float64 arrays."""

MINIMIZERS: dict[str, Method] = {
    "newton": Newton(),
    "newton-cg": NewtonCG(),
    "cg": CG(),
    "bfgs": BFGS(),
    "lbfgs": LBFGS(),
    "gd": GD(),
}
LEAST_SQUARES: dict[str, Method] = {"lm": LM(), "gauss-newton": GaussNewton(), "dogleg": Dogleg()}


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
        value = functools.partial(self._value, unravel, args)
        both: Callable = jax.value_and_grad(value)
        gradient: Callable = jax.grad(value)
        if self.jac is not None and not isinstance(self.method, LeastSquares):
            gradient = functools.partial(_like, self.jac, unravel, args)
            both = lambda x: (value(x), gradient(x))  # noqa: E731
        hvp = lambda x, v: jax.jvp(gradient, (x,), (v,))[1]  # noqa: E731
        if self.hvp is not None:
            hvp = functools.partial(_like, self.hvp, unravel, args)
        smooth = Smooth(value, both, hvp, *((None, None) if bounds is None else bounds))
        if not isinstance(self.method, LeastSquares):
            return smooth
        residual = functools.partial(self._residual, unravel, args)
        return Residual(residual, functools.partial(self._linearize, residual, unravel, args), smooth)

    def _value(self, unravel: Callable, args: tuple, x: Any) -> Any:
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
        fun: (x, *args) → a number, written with `jax.numpy`. It may be +inf or NaN outside its domain.
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
    if traced:
        return program(setting)(problem)
    with jax.enable_x64(problem.budget.tol.dtype == np.float64):
        floats, integers, rows = call(packed(setting), problem)
        if integers[-1]:
            integers = call(examined(setting), problem, floats, integers)
        return unpacked(setting.method, problem.x0, floats, integers, rows)


def call(function: Callable, *arguments: Any) -> Any:
    """A compiled function's result as NumPy arrays; what a user's function cannot do under tracing, in a sentence."""
    try:
        return jax.tree.map(np.asarray, function(*arguments))
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
    traced = any(map(_is_traced, jax.tree.leaves((x0, args, bounds))))
    leaves, structure = jax.tree.flatten(x0)
    leaves = [_floating(leaf) for leaf in leaves]
    if not leaves or not all(leaf.size for leaf in leaves):
        raise BadInput("x0 is empty: there is nothing to solve for")
    x0, dtype = jax.tree.unflatten(structure, leaves), np.result_type(*leaves)
    if tol is None:
        tol = float(np.finfo(dtype).eps) ** (3 / 4 if isinstance(setting.method, LeastSquares) else 1 / 2)
    elif not 0 <= float(tol) < 1:
        raise BadInput(f"tol must be a number in [0, 1), not {tol!r}")
    if bounds is not None:
        bounds = _bounds(bounds, x0, dtype)
        if not traced:
            _check_inside(x0, bounds)
    args = jax.tree.map(functools.partial(_argument, dtype), args)
    if history:
        setting = dataclasses.replace(setting, keep=Keep(int(max_iterations) + 1, history == "path"))
    budget = Budget(dtype.type(tol), np.int32(max_iterations), np.int32(max_cost or ENDLESS))
    return setting, Problem(x0, args, bounds, budget), traced


def _floating(leaf: Any) -> Any:
    if not isinstance(leaf, jax.core.Tracer):
        leaf = np.asarray(leaf)
    if leaf.dtype not in (np.float32, np.float64):
        raise BadInput(
            f"x0 must hold float32 or float64 numbers, not {leaf.dtype}; write x0.astype(float), or 1.0 for 1"
        )
    return leaf


def _argument(dtype: Any, leaf: Any) -> Any:
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


@functools.lru_cache(maxsize=128)
def program(setting: Setting) -> Callable[[Problem], Solution]:
    """The compiled solver. Kept for the last 128 functions: a function made anew for every call is compiled anew."""
    return jax.jit(functools.partial(_solve, setting))


@functools.lru_cache(maxsize=128)
def packed(setting: Setting) -> Callable[[Problem], tuple[Any, Any, Any]]:
    """The compiled solver with its numbers in two vectors: every array that leaves a compiled function costs its
    microseconds, which are most of a small problem's. An end of least squares is still to be `examined`.
    """
    finish = setting.method.found if isinstance(setting.method, LeastSquares) else setting.method.finish

    def run(problem: Problem) -> tuple[Any, Any, Any]:
        end, unravel = _walked(setting, problem, finish)
        floats = [end.x, end.value, end.gradient, end.gradient_norm, end.covariance, end.inverse_hessian]
        return ravel_pytree(floats)[0], _integers(end), _history(end, unravel)

    return jax.jit(run)


@functools.lru_cache(maxsize=128)
def examined(setting: Setting) -> Callable[[Problem, Any, Any], Any]:
    """The compiled examination of what `packed` gave: its integers anew. Few ends need it, and it takes as long to
    compile as half the solver.
    """
    method = cast(LeastSquares, setting.method)

    def run(problem: Problem, floats: Any, integers: Any) -> Any:
        x0, unravel = ravel_pytree(problem.x0)
        n = x0.size
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


def unpacked(method: Method, x0: Params, floats: np.ndarray, integers: np.ndarray, history: Any) -> Solution:
    """The solution that `packed` gave for a start."""
    unravel, n = _unraveller(x0)
    matrix = floats[2 * n + 2 :].reshape(n, n) if floats.size > 2 * n + 2 else None
    squares = isinstance(method, LeastSquares)
    status, iterations, *calls, cost, _ = integers
    if history is not None:
        history = jax.tree.map(lambda column: column[: iterations + 1], history)
    return Solution(
        x=unravel(floats[:n]),
        value=floats[n],
        gradient=unravel(floats[n + 1 : 2 * n + 1]),
        gradient_norm=floats[2 * n + 1],
        status=Status(status),
        iterations=iterations,
        evaluations=Evaluations(*calls),
        cost=cost,
        covariance=matrix if squares else None,
        inverse_hessian=None if squares else matrix,
        history=history,
    )


def _unraveller(x0: Params) -> tuple[Callable[[np.ndarray], Params], int]:
    """What gives a vector x0's structure, and the vector's length."""
    leaves, structure = jax.tree.flatten(x0)
    ends = list(itertools.accumulate((leaf.size for leaf in leaves), initial=0))

    def unravel(vector: np.ndarray) -> Params:
        parts = (vector[a:b] for a, b in itertools.pairwise(ends))
        shaped = (
            part.reshape(leaf.shape).astype(leaf.dtype, copy=False) for part, leaf in zip(parts, leaves, strict=True)
        )
        return jax.tree.unflatten(structure, shaped)

    return unravel, ends[-1]


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
        lambda x, args: setting._value(unravel, args, x), x, problem.args, change.args, problem.bounds, change.bounds
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
