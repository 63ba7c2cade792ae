"""Work, and the pieces it is cut into: each is done in one process, and kept in the store when it is done.

How work is cut depends on the work and the machine, never on what is in the store or on who does it: the last bits of
a result depend on which runs share a compiled program. So an interrupted study ends as it would have, and a study on
many processes as in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..rules.contract import Rule
from ..tasks.contract import Params, Task
from .drive import Drive, cast, cores, even, joined, padded, signature
from .engine import Lane, advance, begin, draw_batches, draw_problem, draw_starts

SIZE = 2.0**33
"""Floating-point operations in a piece, about: seconds of two cores' time, the most that an interruption costs."""


class Made(NamedTuple):
    """What came of work: arrays with leading axes (settings, seeds), as `Drive.all` names them, and the clocks."""

    arrays: dict[str, Any]
    compile_seconds: float
    run_seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """Runs of some settings on some seeds. `rules` is a rule whose leaves have a leading axis of `settings`.

    `shape`, of a piece, is how many settings and seeds its program takes: its own are made up to them by repetition, so
    that the last, smaller piece is served by the program of the others.
    """

    rules: Rule
    settings: int
    task: Task
    seeds: np.ndarray
    steps: int
    every: int
    dtype: str
    record: tuple[str, ...] = ()
    start: Params = None
    shape: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many steps it takes in all."""
        return self.settings * len(self.seeds) * self.steps

    def setting(self, i: int) -> Rule:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[i], self.rules)

    def do(self) -> Made:
        """All of it, in this process."""
        high, wide = self.shape or (self.settings, len(self.seeds))
        rules = jax.tree.map(lambda leaf: padded(leaf, high), cast(self.rules, self.dtype))
        with jax.enable_x64(self.dtype == "float64"):
            drive = Drive(
                rules, high, cast(self.task, self.dtype), padded(self.seeds, wide), self.steps, self.every, self.record,
                self.start,
            )  # fmt: skip
            made = jax.tree.map(lambda x: x[: self.settings, : len(self.seeds)], drive.all())
        return Made(made, drive.compile_seconds, drive.run_seconds)

    def cut(self) -> list[list[Work]]:
        """The pieces: a row for each chunk of settings, in it one for each chunk of seeds."""
        runs = max(cores(), int(SIZE / (self.steps * self.operations())))
        wide = even(len(self.seeds), runs)
        high = even(self.settings, max(1, runs // wide))
        return [
            [self._piece(slice(i, i + high), slice(j, j + wide), (high, wide)) for j in range(0, len(self.seeds), wide)]
            for i in range(0, self.settings, high)
        ]

    def _piece(self, some: slice, seeds: slice, shape: tuple[int, int]) -> Work:
        rules = jax.tree.map(lambda leaf: np.asarray(leaf)[some], self.rules)
        count = len(range(*some.indices(self.settings)))
        return dataclasses.replace(self, rules=rules, settings=count, seeds=self.seeds[seeds], shape=shape)

    def join(self, rows: Sequence[Sequence[Made]]) -> Made:
        """The whole from its pieces."""
        across = [joined([made.arrays for made in row], 1, len(self.seeds)) for row in rows]
        pieces = [made for row in rows for made in row]
        compiling, running = sum(made.compile_seconds for made in pieces), sum(made.run_seconds for made in pieces)
        return Made(joined(across, 0, self.settings), compiling, running)

    def operations(self) -> float:
        """Floating-point operations of one step of one run, about: the compiler's count before it optimizes."""
        key = self._signature()
        if key not in _operations:
            with jax.enable_x64(self.dtype == "float64"):
                lowered = jax.jit(_step).lower(*jax.eval_shape(_moment, *self._alone()))
                _operations[key] = max(1.0, (lowered.cost_analysis() or {}).get("flops", 0.0))
        return _operations[key]

    def program(self) -> str:
        """The text of the program that one step of one run is, from the drawing of the problem on."""
        with jax.enable_x64(self.dtype == "float64"):
            return jax.jit(lambda *alone: _step(*_moment(*alone))).lower(*self._alone()).as_text()

    def _alone(self) -> tuple[Rule, Task, np.ndarray]:
        return cast(self.setting(0), self.dtype), cast(self.task, self.dtype), self.seeds[:1].astype(np.uint32)

    def _signature(self) -> Any:
        with jax.enable_x64(self.dtype == "float64"):
            return signature(self._alone())


_operations: dict[Any, float] = {}


def _moment(rule: Rule, task: Task, seeds: Any) -> tuple:
    """All that the first step of one run is made from."""
    starts, states = draw_starts(task, seeds)
    _, batches = draw_batches(task, seeds, states, 0, count=1)
    lane, batch = jax.tree.map(lambda x: x[0], (starts, jax.tree.map(lambda x: x[:, 0], batches)))
    return rule, draw_problem(task, seeds[0]), lane, batch


def _step(rule: Rule, problem: Any, start: Params, batch: Any) -> Lane:
    return advance(rule, problem, begin(rule, start), 0, batch)[0]
