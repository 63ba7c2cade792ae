"""The engine: a run as array code, and many runs as a few compiled programs that keep to a memory budget.

What a seed draws (the start, the batches) depends on no rule. It is drawn by programs of its own and handed to the
rule's: all rules then meet the very same numbers, and a rule's program has no random numbers to compile.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Params, Problem, Task

BUDGET = 2**29
"""Bytes that one compiled program may hold at a time, its outputs included."""

CACHE = 2**19
"""Bytes of lanes that go through all their steps together: what a core's own cache holds beside their temporaries."""

DTYPES = ("float32", "float64")
RECORDS = ("params", "grads", "states", "steps")


class Lane(NamedTuple):
    """All that one run carries from step to step."""

    params: Params
    states: list[dict[str, Any]]
    total: Any
    """The sum of the losses that the steps so far have seen."""
    broke_at: Any
    """How many steps had been taken when the loss was first found not finite; −1 while it is."""


def begin(rule: Rule, start: Params) -> Lane:
    """The lane before the first step."""
    leaves = jax.tree.leaves(start)
    return Lane(start, [rule.init(p, jnp) for p in leaves], jnp.zeros((), leaves[0].dtype), jnp.int32(-1))


def advance(rule: Rule, problem: Problem, lane: Lane, k: Any, batch: Any) -> tuple[Lane, dict[str, Any]]:
    """One step after `k` others, and the gradient, state and step there."""
    loss, grads = jax.value_and_grad(problem.loss)(lane.params, batch)
    leaves, shape = jax.tree.flatten(lane.params)
    moves = [
        rule.update(g, s, p, k + 1, jnp) for g, s, p in zip(jax.tree.leaves(grads), lane.states, leaves, strict=True)
    ]
    states = [state for _, state in moves]
    steps = jax.tree.unflatten(shape, [step for step, _ in moves])
    params = jax.tree.map(jnp.add, lane.params, steps)
    lane = Lane(params, states, lane.total + loss, _broke_at(lane, loss, k))
    return lane, {"grads": grads, "states": states, "steps": steps}


def segment(
    rule: Rule, task: Task, seed: Any, lane: Any, batches: Any, k0: Any, *, blocks: int, every: int, record: tuple
) -> tuple[Lane, dict[str, Any], Any]:
    """`blocks` blocks of `every` steps after `k0` others, with a record at the start of each, and the loss at the end.

    `lane` is where the last segment ended or, for the first one, the parameters to start from.
    """
    problem = _problem(task, seed)
    lane = lane if isinstance(lane, Lane) else begin(rule, lane)
    step = functools.partial(_step, rule, problem)

    def block(lane: Lane, drawn: tuple) -> tuple[Lane, dict[str, Any]]:
        made = {"loss": problem.loss(lane.params), "params": lane.params}
        if every > 1 and not {"grads", "states", "steps"} & set(record):
            lane, _ = jax.lax.scan(lambda lane, x: (step(lane, x)[0], None), lane, drawn)
        else:
            lane, moment = step(lane, jax.tree.map(lambda x: x[0], drawn))
            made |= moment
            if every > 1:
                rest = jax.tree.map(lambda x: x[1:], drawn)
                lane, _ = jax.lax.scan(lambda lane, x: (step(lane, x)[0], None), lane, rest)
        return lane, {what: made[what] for what in ("loss", *record)}

    drawn = (k0 + jnp.arange(blocks * every, dtype=jnp.int32), batches)
    if blocks == 1:
        # A loop around the one block would cost XLA a copy of every lane.
        lane, made = block(lane, drawn)
        made = jax.tree.map(lambda x: x[None], made)
    else:
        lane, made = jax.lax.scan(block, lane, jax.tree.map(lambda x: x.reshape(blocks, every, *x.shape[1:]), drawn))
    final = problem.loss(lane.params)
    return lane._replace(broke_at=_broke_at(lane, final, k0 + blocks * every)), made, final


def _step(rule: Rule, problem: Problem, lane: Lane, drawn: tuple) -> tuple[Lane, dict[str, Any]]:
    return advance(rule, problem, lane, *drawn)


def _broke_at(lane: Lane, loss: Any, k: Any) -> Any:
    return jnp.where((lane.broke_at < 0) & ~jnp.isfinite(loss), k, lane.broke_at)


def _problem(task: Task, seed: Any) -> Problem:
    return task.sample(jax.random.fold_in(jax.random.key(seed), 0))


def _starts(task: Task, seeds: Any) -> Any:
    """The start of each seed's problem, and the state its batches are drawn from."""

    def one(seed: Any) -> Any:
        problem = _problem(task, seed)
        return problem.start, problem.batches.begin(jax.random.fold_in(jax.random.key(seed), 1))

    return jax.vmap(one)(seeds)


def _batches(task: Task, seeds: Any, states: Any, k0: Any, *, count: int) -> Any:
    """The batches of `count` steps after `k0` others: leaves of shape (seeds, count, …)."""

    def one(seed: Any, state: Any) -> Any:
        sampler = _problem(task, seed).batches

        def draw(state: Any, k: Any) -> Any:
            batch, state = sampler.draw(state, k)
            return state, batch

        return jax.lax.scan(draw, state, k0 + jnp.arange(count, dtype=jnp.int32))

    return jax.vmap(one)(seeds, states)


def _segments(
    index: Any,
    rules: Rule,
    task: Task,
    seeds: Any,
    lanes: Any,
    batches: Any,
    k0: Any,
    *,
    blocks: int,
    every: int,
    record: tuple,
    together: int,
) -> Any:
    """A segment for every setting and every seed: leaves of shape (settings, seeds, …).

    `index` numbers the settings, for the rules that have no numbers of their own. So many settings as `together` says
    go through all their steps before the next ones begin.
    """
    one = functools.partial(segment, blocks=blocks, every=every, record=record)
    each = jax.vmap(one, in_axes=(None, None, 0, 0, 0, None))
    # Seeds inside settings: what depends on the seed alone is computed once for all settings.
    if isinstance(lanes, Lane):
        return _mapped(lambda _, rule, lane: each(rule, task, seeds, lane, batches, k0), together, index, rules, lanes)
    return _mapped(lambda _, rule: each(rule, task, seeds, lanes, batches, k0), together, index, rules)


def _mapped(setting: Callable[..., Any], together: int, index: Any, *rest: Any) -> Any:
    if together == len(index):  # a loop of one turn would cost XLA a copy of every lane
        return jax.vmap(setting)(index, *rest)
    return jax.lax.map(lambda x: setting(*x), (index, *rest), batch_size=together)


class Cut(NamedTuple):
    """How much one compiled program takes."""

    high: int
    """Settings."""
    together: int
    """Settings that go through all their steps together, before the next ones begin; a divisor of `high`."""
    wide: int
    """Seeds."""
    most: int
    """Steps, at the most."""
    drawn: bool
    """Whether batches are drawn, or every step sees everything."""


@dataclasses.dataclass
class Drive:
    """One call's worth of runs: how it is cut into programs, and the clocks.

    `rules` is a rule whose leaves have a leading axis of `settings`.
    """

    rules: Rule
    settings: int
    task: Task
    seeds: np.ndarray
    steps: int
    every: int
    record: tuple[str, ...] = ()
    start: Params = None
    compile_seconds: float = 0.0
    run_seconds: float = 0.0

    def all(self) -> dict[str, Any]:
        """Every run, leaves of shape (settings, seeds, …): "loss" at each record but the last, the records asked for,
        and "final", "total" and "broke_at" at the end."""
        cut = self._cut()
        begun, compiling = time.perf_counter(), self.compile_seconds
        corners = [(i, j) for i in range(0, self.settings, cut.high) for j in range(0, len(self.seeds), cut.wide)]
        x64 = jax.enable_x64.value

        def cell(corner: tuple[int, int]) -> dict[str, Any]:
            with jax.enable_x64(x64):  # a thread has a setting of its own
                return self._cell(cut, *corner)

        with ThreadPoolExecutor(_cores()) as threads:
            cells = list(threads.map(cell, corners))
        across = -(-len(self.seeds) // cut.wide)
        rows = [_joined(cells[i : i + across], 1, len(self.seeds)) for i in range(0, len(cells), across)]
        made = _joined(rows, 0, self.settings)
        self.run_seconds += time.perf_counter() - begun - (self.compile_seconds - compiling)
        return made

    def _cell(self, cut: Cut, i: int, j: int) -> dict[str, Any]:
        """All steps of some settings on some seeds, what is made moved out of the device as it comes."""
        rules, seeds = self._rules(i, cut.high), self._seeds(j, cut.wide)
        lanes, states = self._call(_starts, self.task, seeds)
        if self.start is not None:
            lanes = jax.tree.map(lambda given, drawn: np.broadcast_to(given, drawn.shape), self.start, lanes)
        made: list[dict[str, Any]] = []
        final = batches = None
        for k, blocks, every, recorded in cuts(self.steps, self.every, cut.most):
            if cut.drawn:
                states, batches = self._call(_batches, self.task, seeds, states, np.int32(k), count=blocks * every)
            lanes, some, final = self._call(
                _segments, np.arange(cut.high), rules, self.task, seeds, lanes, batches, np.int32(k),
                blocks=blocks, every=every, record=self.record, together=cut.together,
            )  # fmt: skip
            if recorded:
                made.append(jax.device_get(some))
        whole = _joined(made, 2)
        if "params" in self.record:
            whole["params"] = jax.tree.map(_appended, whole["params"], jax.device_get(lanes.params))
        return {**whole, **jax.device_get({"final": final, "total": lanes.total, "broke_at": lanes.broke_at})}

    def _rules(self, i: int, high: int) -> Rule:
        return jax.tree.map(lambda leaf: padded(leaf[i : i + high], high), self.rules)

    def _seeds(self, j: int, wide: int) -> np.ndarray:
        return padded(self.seeds[j : j + wide], wide).astype(np.uint32)

    def _cut(self) -> Cut:
        key = (signature((self.rules, self.task, self.seeds)), self.steps, self.every, self.record, BUDGET, CACHE)
        if key not in _cuts:
            _cuts[key] = self._measured()
        return _cuts[key]

    def _measured(self) -> Cut:
        """As much as the budget allows, but at least a program for every core."""
        cores, seed = _cores(), self._seeds(0, 1)
        budget = BUDGET // cores
        starts, states = jax.eval_shape(_starts, self.task, seed)
        batches = jax.eval_shape(functools.partial(_batches, count=1), self.task, seed, states, 0)[1]
        shapes = functools.partial(_segments, blocks=1, every=1, record=self.record, together=1)
        lane, made, _ = jax.eval_shape(shapes, np.arange(1), self._rules(0, 1), self.task, seed, starts, batches, 0)

        high = -(-self.settings // cores)
        wide = len(self.seeds) if self.settings >= cores else -(-len(self.seeds) // cores)
        # A lane is read and written, and its gradient and a few temporaries stand beside it.
        wide = max(1, min(wide, budget // (8 * _bytes(lane))))
        high = max(1, min(high, budget // (8 * _bytes(lane) * wide)))
        while True:
            turns = -(-high // max(1, CACHE // (_bytes(lane) * wide)))
            together = -(-high // turns)
            a_step = wide * (_bytes(batches) + high * _bytes(made) / self.every)
            most = max(1, min(self.steps, int(budget / 2 / a_step)))
            cut = Cut(turns * together, together, wide, most, bool(jax.tree.leaves(batches)))
            held = self._held(cut)
            if held <= budget or high == wide == 1:
                return cut
            # What the compiler needs beyond the foreseen, such as a layer's outputs for all rows, grows with lanes.
            shrink = budget / held / 1.2
            high, wide = (max(1, int(high * shrink)), wide) if high > 1 else (1, max(1, int(wide * shrink)))

    def _held(self, cut: Cut) -> int:
        """The bytes that the first program would hold, by the compiler's own count."""
        seeds = self._seeds(0, cut.wide)
        k, blocks, every, _ = next(cuts(self.steps, self.every, cut.most))
        starts, states = jax.eval_shape(_starts, self.task, seeds)
        count = functools.partial(_batches, count=blocks * every)
        batches = jax.eval_shape(count, self.task, seeds, states, k)[1]
        program = self._program(
            _segments, np.arange(cut.high), self._rules(0, cut.high), self.task, seeds, starts, batches, np.int32(k),
            blocks=blocks, every=every, record=self.record, together=cut.together,
        )  # fmt: skip
        analysis = program.memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)

    def _call(self, function: Callable, *arguments: Any, **statics: Any) -> Any:
        return self._program(function, *arguments, **statics)(*arguments)

    def _program(self, function: Callable, *arguments: Any, **statics: Any) -> Any:
        with _compiling:  # or two threads would compile the same program
            program, seconds = compiled(function, *arguments, **statics)
            self.compile_seconds += seconds
        return program


def _cores() -> int:
    """How many programs run at a time: one a core, for a program of lanes in a core's cache is one thread's work."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuts(steps: int, every: int, most: int) -> Iterator[tuple[int, int, int, bool]]:
    """Cut a run into segments of at most `most` steps: (steps before it, blocks, steps a block, whether it records).

    Records fall on multiples of `every`. A block too long for one segment is continued in others, which do not record.
    """
    k = 0
    while k < steps:
        whole = min(most, steps - k) // every
        if k % every == 0 and whole:
            blocks, length, recorded = whole, every, True
        else:
            blocks, length, recorded = 1, min(every - k % every, steps - k, most), k % every == 0
        yield k, blocks, length, recorded
        k += blocks * length


def cast(tree: Any, dtype: str) -> Any:
    """Every number and floating array of a value as an array of `dtype`."""

    def one(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf if leaf.dtype == bool else leaf.astype(dtype)

    return jax.tree.map(one, tree)


def check(rule: Any, task: Any, steps: int | None, seeds: int | Sequence[int], dtype: str) -> tuple[int, np.ndarray]:
    """The number of steps and the seeds, once the arguments that all entrances share are found good.

    Raises:
        BadInput: one of them is not.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"a rule is wanted, such as osc.Adam(lr=1e-3), not {rule!r}")
    if not isinstance(task, Task):
        raise BadInput(f"a task is wanted, such as osc.task('airfoil'), not {task!r}")
    steps = task.steps if steps is None else steps
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
    return int(steps), listed


_cuts: dict[Any, Cut] = {}
_compiling = threading.Lock()
_programs: OrderedDict[Any, Any] = OrderedDict()
PROGRAMS = 64
"""How many compiled programs are kept, the latest used."""


def signature(tree: Any) -> Any:
    """What a program is compiled for: the structure of its arguments, their shapes and types, and the precision."""
    leaves, shape = jax.tree.flatten(tree)
    return shape, tuple((leaf.shape, leaf.dtype) for leaf in leaves), jax.enable_x64.value


def compiled(function: Callable, *arguments: Any, **statics: Any) -> tuple[Any, float]:
    """`function` compiled for arguments of these shapes, and the seconds that took: 0.0 where it was known already.

    Compiling apart from running lets both be timed, and the compiler's count of memory be read before a byte is taken.
    """
    key = (function, signature(arguments), tuple(statics.items()))
    if key in _programs:
        _programs.move_to_end(key)
        return _programs[key], 0.0
    begun = time.perf_counter()
    _programs[key] = jax.jit(function, static_argnames=tuple(statics)).lower(*arguments, **statics).compile()
    if len(_programs) > PROGRAMS:
        _programs.popitem(last=False)
    return _programs[key], time.perf_counter() - begun


def _joined(pieces: list[Any], axis: int, length: int | None = None) -> Any:
    """Pieces of a result as one, cut to `length`: the last piece may have been padded."""

    def one(*parts: np.ndarray) -> np.ndarray:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
        return whole if length in (None, whole.shape[axis]) else whole.take(range(length), axis=axis)

    return jax.tree.map(one, *pieces)


def _appended(records: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.concatenate([records, last[:, :, None]], axis=2)


def padded(array: np.ndarray, width: int) -> np.ndarray:
    """An array made up to `width` rows by repeating the last: one program then serves the last, short chunk too."""
    return array[np.minimum(np.arange(width), len(array) - 1)]


def _bytes(tree: Any) -> int:
    return sum(itertools.chain([0], (x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))))
