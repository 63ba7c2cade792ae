"""Run a rule on a task: seeds in parallel, whatever their number in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Params, Task
from .arguments import check
from .drive import Drive, cast

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
    start: Params = None,
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
    total, listed = check(rule, task, steps, seeds, dtype)
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= total:
        raise BadInput(f"every must be a whole number from 1 to {total}, the steps there are, not {every!r}")
    for what in record:
        if what not in RECORDS:
            raise BadInput(f"record takes any of {', '.join(RECORDS)}, not {what!r}")
    with jax.enable_x64(dtype == "float64"):
        alone = jax.tree.map(lambda leaf: leaf[None], cast(rule, dtype))
        begin = None if start is None else _checked(start, task, dtype)
        drive = Drive(alone, 1, cast(task, dtype), listed, total, every, tuple(record), begin)
        made = jax.tree.map(lambda x: x[0], drive.all())
    return Runs(
        rule=rule,
        task=task,
        seeds=listed,
        at=np.append(np.arange(0, total, every), total),
        loss=np.concatenate([made["loss"], made["final"][:, None]], axis=1),
        broke_at=made["broke_at"],
        **{what: made.get(what) for what in RECORDS},
        compile_seconds=drive.compile_seconds,
        run_seconds=drive.run_seconds,
    )


def _checked(start: Params, task: Task, dtype: str) -> Params:
    wanted = jax.eval_shape(lambda: task.sample(jax.random.key(0)).start)
    try:
        given = cast(np.asarray(start) if hasattr(wanted, "shape") else start, dtype)
    except (TypeError, ValueError):
        raise BadInput(f"start must hold numbers, not {start!r}") from None
    shapes = [jax.tree.map(lambda x: tuple(x.shape), tree) for tree in (wanted, given)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"start must have the shape of the task's parameters, {shapes[0]}, not {shapes[1]}")
    return given
