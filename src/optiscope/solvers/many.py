"""Many solves at once: thousands of starts or problems as one program, which the hard ones do not hold back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..errors import BadInput
from .problem import Problem, Setting
from .programs import call, solution
from .solution import RUNNING, Solution
from .solve import LEAST_SQUARES, MINIMIZERS, check_bounds, pick, prepare
from .walk import Method

SHRINK = 8
"""Lanes are gathered when all but one in so many have finished; every width is compiled once."""
NARROW = 16
"""Lanes too few to be worth gathering."""


def solve_many(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple = (),
    *,
    method: str | Method = "lbfgs",
    in_axes: Any = None,
    jac: Callable[..., Any] | None = None,
    hvp: Callable[..., Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    tol: float | None = None,
    max_iterations: int = 1000,
) -> Solution:
    """Solve from many starts, or many problems, at once.

    All lanes step together; when seven in eight have finished, the others are gathered and run on in a narrower
    program, so that one hard lane costs its own steps and not everybody's.

    Args:
        fun: a function as `minimize` takes it or, for a method of least squares, residuals as `least_squares` does.
        x0: the starts: each leaf with a leading axis, a lane for each entry.
        args: further arguments of fun.
        method: any method of `minimize` or `least_squares`.
        in_axes: which of args have a lane's own values: None for none of them, or as in `jax.vmap` a tuple of None and
            0, one for each of args.
        jac, hvp, bounds, tol, max_iterations: as in `minimize`, for every lane.

    Returns:
        A solution whose leaves have the lanes as leading axis.

    Raises:
        BadInput: as `minimize`; or the leaves of x0 and args disagree about the number of lanes.
    """
    chosen = _any_method(method)
    check_bounds(chosen, method, bounds)
    lanes = _lanes(x0, args, in_axes)
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], x0)
    setting, problem, _ = prepare(Setting(fun, chosen, jac, hvp), one, args, bounds, tol, max_iterations)
    starts = jax.tree.map(lambda leaf, like: np.asarray(leaf, like.dtype), x0, problem.x0)
    with jax.enable_x64(np.result_type(*jax.tree.leaves(starts)) == np.float64):
        return _run(setting, axes, problem._replace(x0=starts), lanes)


def _run(setting: Setting, axes: tuple, problem: Problem, lanes: int) -> Solution:
    begin, advance, finish = _programs(setting, axes)
    every, states = call(begin, problem), None
    here = np.arange(lanes)
    while True:
        enough = len(here) // SHRINK if len(here) > NARROW else 0
        some = _taken(problem, axes, here)
        states = call(advance, some, jax.tree.map(lambda leaf, here=here: leaf[here], every), enough)
        if len(here) == lanes:
            every = jax.tree.map(np.array, states)
        else:
            jax.tree.map(functools.partial(_put, here), every, states)
        if enough == 0:
            return call(finish, problem, every)
        # The running lanes first; finished ones, which stay as they are, make up the width.
        order = np.argsort(np.asarray(states.walk.status) != RUNNING, kind="stable")
        here = here[order[: max(enough, NARROW)]]


def _put(here: np.ndarray, whole: np.ndarray, part: np.ndarray) -> None:
    whole[here] = part


@functools.lru_cache(maxsize=32)
def _programs(setting: Setting, axes: tuple) -> tuple[Callable, Callable, Callable]:
    mapped = Problem(0, axes, None, None)  # type: ignore[arg-type]

    def begin(problem: Problem) -> Any:
        x, unravel = ravel_pytree(problem.x0)
        return setting.method.begin(setting.oracle(unravel, problem.args, problem.bounds), x, None)

    def step(problem: Problem, state: Any) -> Any:
        _, unravel = ravel_pytree(problem.x0)
        oracle = setting.oracle(unravel, problem.args, problem.bounds)
        new = setting.method.step(oracle, problem.budget, state)
        running = state.walk.status == RUNNING
        return jax.tree.map(lambda a, b: jnp.where(running, a, b), new, state)

    def advance(problem: Problem, states: Any, enough: Any) -> Any:
        steps = functools.partial(jax.vmap(step, in_axes=(mapped, 0)), problem)
        return jax.lax.while_loop(lambda s: jnp.sum(s.walk.status == RUNNING) > enough, steps, states)

    def finish(problem: Problem, state: Any) -> Solution:
        _, unravel = ravel_pytree(problem.x0)
        oracle = setting.oracle(unravel, problem.args, problem.bounds)
        return solution(setting.method.finish(oracle, state), unravel)

    return (
        jax.jit(jax.vmap(begin, in_axes=(mapped,))),
        jax.jit(advance),
        jax.jit(jax.vmap(finish, in_axes=(mapped, 0))),
    )


def _taken(problem: Problem, axes: tuple, here: np.ndarray) -> Problem:
    """The problem of some lanes."""

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[here], tree)

    args = tuple(arg if axis is None else take(arg) for arg, axis in zip(problem.args, axes, strict=True))
    return problem._replace(x0=take(problem.x0), args=args)


def _any_method(method: str | Method) -> Method:
    known = MINIMIZERS | LEAST_SQUARES
    return pick(method, known, "solve_many")


def _lanes(x0: Any, args: tuple, in_axes: Any) -> int:
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    if len(axes) != len(args) or any(axis not in (None, 0) for axis in axes):
        raise BadInput(
            f"in_axes must be None, 0, or a tuple of them, one for each of the {len(args)} args, not {in_axes!r}"
        )
    own = [x0, *(arg for arg, axis in zip(args, axes, strict=True) if axis == 0)]
    leaves = jax.tree.leaves(own)
    if not leaves or any(np.ndim(leaf) == 0 for leaf in leaves):
        raise BadInput("every leaf of x0, and of the args that in_axes marks with 0, needs a leading axis of lanes")
    counts = sorted({int(np.shape(leaf)[0]) for leaf in leaves})
    if len(counts) != 1 or counts[0] == 0:
        raise BadInput(
            f"x0 and the args that in_axes marks with 0 must have equally many lanes, at least one, not {counts}"
        )
    return counts[0]
