"""Run a solver on a task as if it were a rule: seeds in parallel, its losses by what it has called.

A rule's step is one gradient. A solver is charged for all that it calls, in gradients (`Solution.cost` has the
prices), and stands where the last step that it could pay for has brought it. It wants a function that answers twice in
the same way: the loss of all data, which costs as many steps of a rule as there are batches in an epoch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..solvers.least_squares import LeastSquares
from ..solvers.solve import least_squares, minimize
from ..solvers.walk import Method
from ..tasks.batches import Everything
from ..tasks.contract import Params, Problem, Task
from ..tasks.supervised import Fit, half_squared
from .arguments import DTYPES, seeds_of, steps_of
from .drive import cast
from .engine import draw_problem
from .run import Runs, checked_start

BUDGET = 2**29
"""Bytes that the seeds that are solved together may hold."""


def run_solver(
    method: Method,
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    dtype: str = "float32",
    every: int = 1,
    path: bool = False,
    start: Params = None,
) -> Runs:
    """Solve the problems that the seeds draw from `task`, from the starts that `run` gives a rule.

    Args:
        method: `optiscope.solvers.BFGS()`, say; one of least squares where the task is one.
        steps: how many gradients may be spent; the task's own number of steps by default.
        seeds, dtype, start: as in `run`.
        every: record after every so many gradients.
        path: whether to keep the parameters at each record.

    Raises:
        BadInput: an argument is invalid, the task's gradients are noisy, or a method of least squares meets a task that
            is none.
    """
    total, listed = steps_of(task, steps), seeds_of(seeds)
    if dtype not in DTYPES:
        raise BadInput(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    with jax.enable_x64(dtype == "float64"):
        begin = None if start is None else checked_start(start, task, dtype)
        given = cast(task, dtype)
        problem = jax.eval_shape(draw_problem, given, np.uint32(0))
        price = _price(problem, task)
        if isinstance(method, LeastSquares) and not _is_squares(problem):
            raise BadInput(
                f"{type(method).__name__} wants a mean of squares, such as airfoil's, and {task.name} has none; "
                "take bfgs, lbfgs, cg, newton or newton-cg"
            )
        solve = functools.partial(_solved, method, max(1, total // price), path)
        lanes = _lanes(method, problem, np.dtype(dtype).itemsize)
        every_seed = jax.jit(
            lambda task, begin, seeds: jax.lax.map(functools.partial(solve, task, begin), seeds, batch_size=lanes)
        )
        begun = time.perf_counter()
        program = every_seed.lower(given, begin, listed.astype(np.uint32)).compile()
        compiled = time.perf_counter()
        values, costs, points = jax.tree.map(np.asarray, program(given, begin, listed.astype(np.uint32)))
        done = time.perf_counter()
    at = np.append(np.arange(0, total, every), total)
    rows, all_rows = (np.stack([_paid(cost * price, steps) for cost in costs]) for steps in (at, np.arange(total)))
    broken = ~np.isfinite(values[:, 0])
    return Runs(
        rule=method,
        task=task,
        seeds=listed,
        at=at,
        loss=np.take_along_axis(values, rows, axis=1),
        metrics={},
        mean=np.where(broken, np.inf, np.take_along_axis(values, all_rows, axis=1).mean(axis=1)),
        broke_at=np.where(broken, 0, -1),
        params=jax.tree.map(lambda leaf: leaf[np.arange(len(listed))[:, None], rows], points),
        grads=None,
        states=None,
        steps=None,
        compile_seconds=compiled - begun,
        run_seconds=done - compiled,
    )


def _solved(method: Method, budget: int, path: bool, task: Task, start: Params, seed: Any) -> Any:
    """Values and costs, and the points where they are asked for, of the iterations; NaN where there were no more."""
    problem = draw_problem(task, seed)
    begin = problem.start if start is None else start
    entrance: Any = least_squares if isinstance(method, LeastSquares) else minimize
    function = _residuals if isinstance(method, LeastSquares) else _loss
    s = entrance(
        function,
        begin,
        (problem,),
        method=method,
        max_iterations=budget,
        max_cost=budget,
        history="path" if path else True,
    )
    return s.history.value, s.history.cost, s.history.x


def _loss(params: Params, problem: Problem) -> Any:
    return problem.loss(params)


def _residuals(params: Params, problem: Fit) -> Any:
    """What half the sum of the squares of is the loss."""
    return (problem.model(params, problem.inputs) - problem.targets) / jnp.sqrt(len(problem.inputs))


def _is_squares(problem: Problem) -> bool:
    return isinstance(problem, Fit) and problem.row_loss is half_squared and problem.penalty is None


def _price(problem: Problem, task: Task) -> int:
    """The steps of a rule that see as many rows as the whole loss."""
    if isinstance(problem.batches, Everything):
        return 1
    if not hasattr(problem.batches, "per_epoch"):
        raise BadInput(
            f"a solver compares values, which the noise of {task.name}'s gradients would make meaningless; "
            "leave out the noise or the solver"
        )
    return problem.batches.per_epoch


def _lanes(method: Method, problem: Problem, itemsize: int) -> int:
    """How many seeds fit the budget: each holds a matrix, of the variables or of the residuals and the variables."""
    n = sum(leaf.size for leaf in jax.tree.leaves(problem.start))
    m = problem.targets.size if isinstance(method, LeastSquares) and isinstance(problem, Fit) else n
    return int(max(1, BUDGET // (4 * itemsize * n * m)))


def _paid(costs: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The last iteration that each budget pays for; the start is free, as it is for a rule."""
    spent = np.where(np.isnan(costs), np.inf, costs)
    return np.maximum(np.searchsorted(spent, at, side="right") - 1, 0)
