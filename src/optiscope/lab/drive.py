"""The drive: many runs as a few compiled programs that keep to a memory budget and to every core."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from ..rules.contract import Rule
from ..tasks.contract import Params, Task
from .engine import draw, draw_batches, segments

BUDGET = 2**29
"""Bytes that the compiled programs may hold at a time, their outputs included."""

CACHE = 2**19
"""Bytes of lanes that go through all their steps together: what a core's own cache holds beside their temporaries."""

WIDE = 128
"""Seeds in a program, at the most: a search and its confirmation, on more of them, share the programs that draw."""


class Cut(NamedTuple):
    """How much one compiled program takes."""

    high: int
    """Settings."""
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
        and the loss at the end as "final", "total" and "broke_at"."""
        cut = self._cut()
        begun, compiling = time.perf_counter(), self.compile_seconds
        corners = [(i, j) for i in range(0, self.settings, cut.high) for j in range(0, len(self.seeds), cut.wide)]
        x64 = jax.enable_x64.value

        def cell(corner: tuple[int, int]) -> dict[str, Any]:
            with jax.enable_x64(x64):  # a thread has a setting of its own
                return self._cell(cut, *corner)

        with ThreadPoolExecutor(cores()) as threads:
            try:
                cells = list(threads.map(cell, corners))
            except BaseException:
                threads.shutdown(cancel_futures=True)  # an interruption waits for no program but those that run
                raise
        across = -(-len(self.seeds) // cut.wide)
        rows = [joined(cells[i : i + across], 1, len(self.seeds)) for i in range(0, len(cells), across)]
        made = joined(rows, 0, self.settings)
        self.run_seconds += time.perf_counter() - begun - (self.compile_seconds - compiling)
        return made

    def _cell(self, cut: Cut, i: int, j: int) -> dict[str, Any]:
        """All steps of some settings on some seeds, what is made moved out of the device as it comes."""
        rules, seeds = self._rules(i, cut.high), self._seeds(j, cut.wide)
        drawn, lanes, states = self._call(draw, self.task, seeds)
        if self.start is not None:
            lanes = jax.tree.map(lambda given, drawn: np.broadcast_to(given, drawn.shape), self.start, lanes)
        made: list[dict[str, Any]] = []
        final: Any = None
        batches: Any = None
        for k, blocks, every, recorded in cuts(self.steps, self.every, cut.most):
            if cut.drawn:
                states, batches = self._call(draw_batches, self.task, seeds, states, np.int32(k), count=blocks * every)
            lanes, some, final = self._call(
                segments, np.arange(cut.high), rules, self.task, drawn, lanes, batches, np.int32(k),
                blocks=blocks, every=every, record=self.record,
            )  # fmt: skip
            if recorded:
                made.append(jax.device_get(some))
        whole = joined(made, 2)
        last = jax.device_get({"params": lanes.params, **final})
        for what in {"params", "metrics"} & set(self.record):
            whole[what] = jax.tree.map(_appended, whole[what], last[what])
        return {**whole, "final": last["loss"], **jax.device_get({"total": lanes.total, "broke_at": lanes.broke_at})}

    def _rules(self, i: int, high: int) -> Rule:
        return jax.tree.map(lambda leaf: padded(leaf[i : i + high], high), self.rules)

    def _seeds(self, j: int, wide: int) -> np.ndarray:
        return padded(self.seeds[j : j + wide], wide).astype(np.uint32)

    def _cut(self) -> Cut:
        key = (signature((self.rules, self.task, self.seeds)), self.steps, self.every, self.record, BUDGET)
        if key not in _cuts:
            _cuts[key] = self._measured()
        return _cuts[key]

    def _measured(self) -> Cut:
        """What a core's cache holds for all steps, as the budget allows, but at least a program for every core."""
        threads, seed = cores(), self._seeds(0, 1)
        budget = BUDGET // threads
        drawn, starts, states = jax.eval_shape(draw, self.task, seed)
        batches = jax.eval_shape(functools.partial(draw_batches, count=1), self.task, seed, states, 0)[1]
        shapes = functools.partial(segments, blocks=1, every=1, record=self.record)
        lane, made, _ = jax.eval_shape(shapes, np.arange(1), self._rules(0, 1), self.task, drawn, starts, batches, 0)

        wide = len(self.seeds) if self.settings >= threads else -(-len(self.seeds) // threads)
        # A lane is read and written, and its gradient and a few temporaries stand beside it.
        wide = even(len(self.seeds), max(1, min(wide, WIDE, budget // (8 * _bytes(lane) + _bytes(drawn)))))
        high = even(-(-self.settings // threads), max(1, CACHE // (_bytes(lane) * wide)))
        while True:
            a_step = wide * (_bytes(batches) + high * _bytes(made) / self.every)
            most = max(1, min(self.steps, int(budget / 2 / a_step)))
            cut = Cut(high, wide, most, bool(jax.tree.leaves(batches)))
            held = wide * _bytes(drawn) + self._held(cut)
            if held <= budget or high == wide == 1:
                return cut
            # What the compiler needs beyond the foreseen, such as a layer's outputs for all rows, grows with lanes.
            shrink = budget / held / 1.2
            high, wide = (max(1, int(high * shrink)), wide) if high > 1 else (1, max(1, int(wide * shrink)))

    def _held(self, cut: Cut) -> int:
        """The bytes that the first program would make, by the compiler's own count."""
        seeds = self._seeds(0, cut.wide)
        k, blocks, every, _ = next(cuts(self.steps, self.every, cut.most))
        drawn, starts, states = jax.eval_shape(draw, self.task, seeds)
        count = functools.partial(draw_batches, count=blocks * every)
        batches = jax.eval_shape(count, self.task, seeds, states, k)[1]
        program = self._program(
            segments, np.arange(cut.high), self._rules(0, cut.high), self.task, drawn, starts, batches, np.int32(k),
            blocks=blocks, every=every, record=self.record,
        )  # fmt: skip
        analysis = program.memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)

    def _call(self, function: Callable, *arguments: Any, **statics: Any) -> Any:
        program = self._program(function, *arguments, **statics)
        if program not in _alone:
            return program(*arguments)
        with _one_at_a_time:
            return jax.block_until_ready(program(*arguments))  # type: ignore[no-untyped-call]

    def _program(self, function: Callable, *arguments: Any, **statics: Any) -> Any:
        with _compiling:  # or two threads would compile the same program
            program, seconds = compiled(function, *arguments, **statics)
            self.compile_seconds += seconds
        return program


def cores() -> int:
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
        return leaf if leaf.dtype == bool else leaf.astype(dtype, copy=False)

    return jax.tree.map(one, tree)


_cuts: dict[Any, Cut] = {}
_compiling = threading.Lock()
_programs: OrderedDict[Any, Any] = OrderedDict()
_alone: weakref.WeakSet[Any] = weakref.WeakSet()
"""Programs that call LAPACK. Such a call on many matrices waits, in a thread of XLA's pool, for the pool's other
threads; as many programs at a time as there are threads would wait for each other for ever (jaxlib 0.10)."""
_one_at_a_time = threading.Lock()
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
    lowered = jax.jit(function, static_argnames=tuple(statics)).lower(*arguments, **statics)
    # What is run once need not be fast, and random numbers take the compiler long.
    quickly: dict[str, str | bool] | None = {"xla_backend_optimization_level": "1"} if function is draw else None
    _programs[key] = lowered.compile(quickly)
    if "lapack_" in lowered.as_text():
        _alone.add(_programs[key])
    if len(_programs) > PROGRAMS:
        _programs.popitem(last=False)
    return _programs[key], time.perf_counter() - begun


def joined(pieces: list[Any], axis: int, length: int | None = None) -> Any:
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


def even(count: int, most: int) -> int:
    """The size of the fewest equal chunks of at most `most`."""
    return -(-count // -(-count // min(count, most)))


def _bytes(tree: Any) -> int:
    return sum(itertools.chain([0], (x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))))
