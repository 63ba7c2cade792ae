"""Many settings of one rule on many seeds, in one compiled program: what tuning is made of."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Task
from . import engine


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The scores of a sweep, of shape (settings, seeds) each. A run that diverged scores infinity."""

    first: np.ndarray
    """The loss at the start."""
    final: np.ndarray
    """The loss at the end."""
    mean: np.ndarray | None
    """The mean of the losses before each step, where it was asked for."""
    broke_at: np.ndarray
    """After how many steps the loss was first not finite; −1 for never."""
    compile_seconds: float
    run_seconds: float


def stack(rules: Sequence[Rule]) -> Rule:
    """Rules of one kind as one rule whose leaves have a leading axis.

    Raises:
        BadInput: the rules differ in more than their numbers.
    """
    shapes = {jax.tree.structure(rule) for rule in rules}
    if len(shapes) != 1:
        raise BadInput("a sweep needs rules of one kind, with the same variants and the same fields set")
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rules)


def sweep(
    rules: Rule,
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    dtype: str = "float32",
    mean: bool = False,
) -> Sweep:
    """Score every setting in `rules`, a rule whose leaves have a leading axis (see `stack`), on every seed.

    Args:
        steps, seeds, dtype: as in `run`.
        mean: score the mean of the loss curve too, which asks for the loss of all data at every step.

    Raises:
        BadInput: an argument is invalid.
    """
    steps = task.steps if steps is None and isinstance(task, Task) else steps
    listed = engine.check(task, steps, seeds, dtype)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(rules)}
    if len(lengths) != 1 or lengths == {()}:
        raise BadInput("a sweep needs a rule whose leaves all have one leading axis; make it with stack([...])")
    (settings,) = lengths.pop()
    with jax.enable_x64(dtype == "float64"):
        rules, task = engine.cast(rules, dtype), engine.cast(task, dtype)
        wide, high, program, compile_seconds = _fit(rules, task, settings, listed, int(steps or 0), mean)
        begun = time.perf_counter()
        rows = []
        for i in range(0, settings, high):
            some = jax.tree.map(lambda leaf, i=i: engine.padded(leaf[i : i + high], high), rules)
            columns = []
            for j in range(0, len(listed), wide):
                keys = engine.padded(engine.keys_of(listed[j : j + wide]), wide)
                columns.append(jax.device_get(program(some, task, keys)))
            rows.append(jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *columns))
        made = jax.tree.map(lambda *parts: np.concatenate(parts)[:settings, : len(listed)], *rows)
        seconds = time.perf_counter() - begun
    first, final, total, broke_at = made
    broken = broke_at >= 0
    score = None if total is None else np.where(broken, np.inf, total)
    return Sweep(first, np.where(broken, np.inf, final), score, broke_at, compile_seconds, seconds)


def _fit(rules: Rule, task: Task, settings: int, seeds: np.ndarray, steps: int, mean: bool) -> tuple:
    """The widest program that keeps to the budget: fewer settings first, then fewer seeds."""
    wide, high, spent = len(seeds), settings, 0.0
    while True:
        some = jax.tree.map(lambda leaf, high=high: engine.padded(leaf[:1], high), rules)
        keys = engine.padded(engine.keys_of(seeds[:1]), wide)
        program, seconds = engine.compiled(_scores, some, task, keys, steps=steps, mean=mean)
        spent += seconds
        excess = engine.memory(program) / engine.BUDGET
        if excess <= 1 or wide == high == 1:
            return wide, high, program, spent
        if high > 1:
            high = max(1, int(high / (1.5 * excess)))
        else:
            wide = max(1, int(wide / (1.5 * excess)))


def _scores(rules: Rule, task: Task, keys: Any, *, steps: int, mean: bool) -> Any:
    def one(rule: Rule, key: Any) -> Any:
        problem, order = engine.problem_of(task, key)
        lane = engine.begin(rule, problem, order)

        def step(carry: tuple, k: Any) -> tuple:
            lane, total = carry
            lane, moment = engine.advance(rule, problem, lane, k, objective=mean)
            return (lane, total + moment.loss if mean else None), None

        first = problem.loss(problem.start)
        total = jnp.zeros_like(first) if mean else None
        (lane, total), _ = jax.lax.scan(step, (lane, total), jnp.arange(steps, dtype=jnp.int32))
        final, broke_at = engine.finish(problem, lane, steps)
        return first, final, None if total is None else total / steps, broke_at

    # Seeds inside settings: what depends on the seed alone, problem and batches, is computed once for all settings.
    return jax.vmap(lambda rule: jax.vmap(lambda key: one(rule, key))(keys))(rules)
