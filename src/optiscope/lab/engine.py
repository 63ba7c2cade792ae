"""The engine: one lane of a run as array code, and the compiling of many lanes within a memory budget."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Problem, Task

BUDGET = 2**29
"""Bytes that one compiled program may hold at a time, its outputs included."""

DTYPES = ("float32", "float64")


class Lane(NamedTuple):
    """All that one run carries from step to step."""

    params: Any
    states: list[dict[str, Any]]
    batches: Any
    broke_at: Any
    """How many steps had been taken when the loss was first found not finite; −1 while it is."""


class Moment(NamedTuple):
    """What one step saw and did: the loss and gradient before it, the state after it."""

    loss: Any
    params: Any
    grads: Any
    states: list[dict[str, Any]]
    steps: Any


def problem_of(task: Task, key: Any) -> tuple[Problem, Any]:
    """The problem that a seed draws, and the key of its batches. No rule has a say: seeds are common random numbers."""
    return task.sample(jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1)


def begin(rule: Rule, problem: Problem, key: Any) -> Lane:
    """The lane before the first step."""
    params = problem.start
    states = [rule.init(p, jnp) for p in jax.tree.leaves(params)]
    return Lane(params, states, problem.batches.begin(key), jnp.int32(-1))


def advance(rule: Rule, problem: Problem, lane: Lane, k: Any, *, objective: bool) -> tuple[Lane, Moment]:
    """One step after `k` others. The moment's loss is the whole loss with `objective`, else the batch's."""
    batch, batches = problem.batches.draw(lane.batches, k)
    loss, grads = jax.value_and_grad(problem.loss)(lane.params, batch)
    broke_at = jnp.where((lane.broke_at < 0) & ~jnp.isfinite(loss), k, lane.broke_at)
    if objective and batch is not None:
        loss = problem.loss(lane.params)

    leaves, shape = jax.tree.flatten(lane.params)
    moves = [
        rule.update(g, s, p, k + 1, jnp) for g, s, p in zip(jax.tree.leaves(grads), lane.states, leaves, strict=True)
    ]
    states = [state for _, state in moves]
    steps = jax.tree.unflatten(shape, [step for step, _ in moves])
    params = jax.tree.map(jnp.add, lane.params, steps)
    return Lane(params, states, batches, broke_at), Moment(loss, lane.params, grads, states, steps)


def finish(problem: Problem, lane: Lane, k: Any) -> tuple[Any, Any]:
    """The whole loss where the lane stands after `k` steps, and when it broke."""
    loss = problem.loss(lane.params)
    return loss, jnp.where((lane.broke_at < 0) & ~jnp.isfinite(loss), k, lane.broke_at)


def keys_of(seeds: Sequence[int] | np.ndarray) -> jax.Array:
    """One random key a seed."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


def cast(tree: Any, dtype: str) -> Any:
    """Every number and floating array of a value as an array of `dtype`."""

    def one(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf if leaf.dtype == bool else leaf.astype(dtype)

    return jax.tree.map(one, tree)


def check(task: Task, steps: int, seeds: int | Sequence[int], dtype: str) -> np.ndarray:
    """The seeds as an array, once the arguments that all entrances share are found good.

    Raises:
        BadInput: one of them is not.
    """
    if not isinstance(task, Task):
        raise BadInput(f"a task is wanted, such as osc.task('airfoil'), not {task!r}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise BadInput(f"steps must be a whole number ≥ 1, not {steps!r}")
    if dtype not in DTYPES:
        raise BadInput(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    try:
        listed = np.arange(seeds) if isinstance(seeds, int) else np.asarray(list(seeds))
    except TypeError:
        raise BadInput(f"seeds must be a number of seeds or a list of them, not {seeds!r}") from None
    whole = listed.size > 0 and np.issubdtype(listed.dtype, np.integer)
    if not whole or listed.min() < 0 or listed.max() >= 2**32:
        raise BadInput(f"seeds must be at least one whole number in [0, 2³²), not {seeds!r}")
    return listed


_programs: OrderedDict[Any, Any] = OrderedDict()


def compiled(function: Callable, *arguments: Any, **statics: Any) -> tuple[Any, float]:
    """`function` compiled for arguments of these shapes, and the seconds that took: 0.0 where it was known already.

    Compiling apart from running is what lets both be told, and the compiler's own count of memory be read first.
    """
    leaves, shape = jax.tree.flatten(arguments)
    key = (function, shape, tuple((np.shape(x), jnp.result_type(x)) for x in leaves), tuple(statics.items()))
    if key in _programs:
        _programs.move_to_end(key)
        return _programs[key], 0.0
    begun = time.perf_counter()
    program = jax.jit(function, static_argnames=tuple(statics)).lower(*arguments, **statics).compile()
    _programs[key] = program
    if len(_programs) > 64:
        _programs.popitem(last=False)
    return program, time.perf_counter() - begun


def memory(program: Any) -> int:
    """The bytes that a compiled program holds while it runs, arguments apart."""
    analysis = program.memory_analysis()
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def padded(array: Any, width: int) -> Any:
    """An array of lanes made up to `width` by repeating the last: one program then serves the last, short chunk too."""
    missing = width - len(array)
    return array if missing == 0 else array[jnp.minimum(jnp.arange(width), len(array) - 1)]
