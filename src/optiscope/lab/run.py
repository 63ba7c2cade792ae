"""Run a rule on a task: one compiled program, seeds in parallel, in chunks that fit the memory."""

from __future__ import annotations

import dataclasses
import functools
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

RECORDS = ("params", "grads", "states", "steps")


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one rule on one task, a row a seed. All arrays are NumPy's.

    `params`, `grads`, `states` and `steps` are None unless they were asked for.
    """

    rule: Rule
    task: Task
    seeds: np.ndarray
    """The seeds, shape (seeds,)."""
    at: np.ndarray
    """After how many steps each record was made: 0, every, 2·every, …, and the end; shape (records,)."""
    loss: np.ndarray
    """The loss of all data, shape (seeds, records)."""
    broke_at: np.ndarray
    """After how many steps the loss was first not finite, −1 for never; shape (seeds,)."""
    params: Any
    """The parameters at each record: each leaf of shape (seeds, records, …)."""
    grads: Any
    """The gradients that the step after each record but the last saw: (seeds, records − 1, …)."""
    states: Any
    """The rule's states after those steps, a dict for each leaf of the parameters: (seeds, records − 1, …)."""
    steps: Any
    """Those steps: (seeds, records − 1, …)."""
    compile_seconds: float
    run_seconds: float

    @property
    def diverged(self) -> np.ndarray:
        """Which runs broke, shape (seeds,)."""
        return self.broke_at >= 0

    @property
    def final(self) -> np.ndarray:
        """The loss at the end, infinite for a run that diverged; shape (seeds,)."""
        return np.where(self.diverged, np.inf, self.loss[:, -1])


def run(
    rule: Rule,
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    dtype: str = "float32",
    every: int = 1,
    record: Sequence[str] = (),
    start: Any = None,
) -> Runs:
    """Run `rule` on the problems that the seeds draw from `task`.

    A run is a function of (rule, task, seed): every rule meets the same start and the same batches. A run whose loss
    stops being finite is flagged with the step, and the others go on.

    Args:
        steps: how many; the task's own number by default.
        seeds: how many, 0, 1, …; or the seeds themselves, each in [0, 2³²).
        dtype: "float32" or "float64", of everything.
        every: record once in so many steps. The loss of all data is evaluated at each record.
        record: what to keep beside the loss: any of "params", "grads", "states", "steps".
        start: parameters to start from in place of the drawn ones.

    Raises:
        BadInput: an argument is invalid, or `start` has not the structure and shapes of the task's parameters.
    """
    steps = task.steps if steps is None and isinstance(task, Task) else steps
    listed = engine.check(task, steps, seeds, dtype)
    assert steps is not None
    if not isinstance(rule, Rule):
        raise BadInput(f"a rule is wanted, such as osc.Adam(lr=1e-3), not {rule!r}")
    if not 1 <= every <= steps:
        raise BadInput(f"every must be a whole number from 1 to {steps}, the steps there are, not {every!r}")
    for what in record:
        if what not in RECORDS:
            raise BadInput(f"record takes any of {', '.join(RECORDS)}, not {what!r}")
    with jax.enable_x64(dtype == "float64"):
        work = _Work(engine.cast(rule, dtype), engine.cast(task, dtype), steps, every, tuple(record))
        begin = None if start is None else _checked_start(task, start, dtype)
        pieces = work.all(listed, begin)
        whole = jax.tree.map(lambda *chunks: np.concatenate(chunks)[: len(listed)], *pieces)
    at = np.unique(np.append(np.arange(0, steps, every), steps))
    kept = dict.fromkeys(RECORDS) | whole["kept"]
    return Runs(
        rule, task, listed, at, whole["loss"], whole["broke_at"], **kept,
        compile_seconds=work.compile_seconds, run_seconds=work.run_seconds,
    )  # fmt: skip


def _checked_start(task: Task, start: Any, dtype: str) -> Any:
    wanted = jax.eval_shape(lambda: task.sample(jax.random.key(0)).start)
    try:
        given = engine.cast(start, dtype)
    except (TypeError, ValueError):
        raise BadInput(f"start must hold numbers, not {start!r}") from None
    shapes = [jax.tree.map(lambda x: tuple(x.shape), tree) for tree in (wanted, given)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"start must have the shape of the task's parameters, {shapes[0]}, not {shapes[1]}")
    return given


class _Work:
    """The cutting of one call into programs, and the clocks."""

    def __init__(self, rule: Rule, task: Task, steps: int, every: int, record: tuple[str, ...]) -> None:
        self.rule, self.task, self.total, self.every, self.record = rule, task, steps, every, record
        self.compile_seconds = self.run_seconds = 0.0

    def all(self, seeds: np.ndarray, start: Any) -> list[dict[str, Any]]:
        width, blocks = self._sizes(len(seeds), start)
        chunks = [seeds[i : i + width] for i in range(0, len(seeds), width)]
        return [self._lanes(engine.padded(engine.keys_of(chunk), width), blocks, start) for chunk in chunks]

    def _sizes(self, seeds: int, start: Any) -> tuple[int, int]:
        """How many seeds, and how many records, one program takes."""
        whole = max(1, self.total // self.every)
        one = functools.partial(_segment, blocks=1, every=1, record=self.record)
        shapes = jax.eval_shape(one, self.rule, self.task, engine.keys_of([0]), start, None, 0)
        lane, made = (sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) for tree in shapes[:2])
        width = min(seeds, max(1, engine.BUDGET // (8 * lane)))
        while True:
            blocks = min(whole, max(1, engine.BUDGET // (2 * width * made)))
            program = self._program(engine.padded(engine.keys_of([0]), width), start, None, blocks, self.every)
            held = engine.memory(program)
            if held <= engine.BUDGET or width == 1:
                return width, blocks
            width = max(1, width * engine.BUDGET // (2 * held))

    def _lanes(self, keys: Any, blocks: int, start: Any) -> dict[str, Any]:
        """All steps of one chunk of seeds, a segment at a time, what is made moved out of the device as it comes."""
        lanes: Any = None
        made, k = [], 0
        while k < self.total:
            left = (self.total - k) // self.every
            # After the last whole block, the steps that are left make a block of their own.
            count, every = (min(blocks, left), self.every) if left else (1, self.total - k)
            program = self._program(keys, start, lanes, count, every)
            begun = time.perf_counter()
            lanes, records, (final, broke_at) = program(self.rule, self.task, keys, start, lanes, np.int32(k))
            made.append(jax.device_get(records))
            final, broke_at = jax.device_get((final, broke_at))
            self.run_seconds += time.perf_counter() - begun
            k += count * every
        whole = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *made)
        if "params" in self.record:
            last = jax.tree.map(lambda p: np.asarray(p)[:, None], lanes.params)
            whole["params"] = jax.tree.map(lambda *ps: np.concatenate(ps, axis=1), whole["params"], last)
        loss = np.concatenate([whole.pop("loss"), final[:, None]], axis=1)
        return {"loss": loss, "broke_at": broke_at, "kept": whole}

    def _program(self, keys: Any, start: Any, lanes: Any, blocks: int, every: int) -> Any:
        program, seconds = engine.compiled(
            _segment, self.rule, self.task, keys, start, lanes, np.int32(0),
            blocks=blocks, every=every, record=self.record,
        )  # fmt: skip
        self.compile_seconds += seconds
        return program


def _segment(
    rule: Rule, task: Task, keys: Any, start: Any, lanes: Any, k0: Any, *, blocks: int, every: int, record: tuple
) -> Any:
    """`blocks` blocks of `every` steps, for every key, from `lanes` (None: from the beginning)."""

    def one(key: Any, lane: Any) -> Any:
        problem, order = engine.problem_of(task, key)
        if lane is None:
            lane = engine.begin(rule, problem, order)
            lane = lane if start is None else lane._replace(params=start)

        def block(lane: Any, k: Any) -> tuple[engine.Lane, dict[str, Any]]:
            lane, moment = engine.advance(rule, problem, lane, k, objective=True)
            if every > 1:
                rest = functools.partial(_silent_step, rule, problem)
                lane = jax.lax.fori_loop(k + 1, k + every, rest, lane)
            return lane, {"loss": moment.loss, **{what: getattr(moment, what) for what in record}}

        lane, made = jax.lax.scan(block, lane, k0 + every * jnp.arange(blocks, dtype=jnp.int32))
        return lane, made, engine.finish(problem, lane, k0 + every * blocks)

    return jax.vmap(one)(keys, lanes)


def _silent_step(rule: Rule, problem: Any, k: Any, lane: engine.Lane) -> engine.Lane:
    return engine.advance(rule, problem, lane, k, objective=False)[0]
