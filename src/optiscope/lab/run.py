"""Run a rule on a task: seeds in parallel, whatever their number in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import jax
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..solvers.walk import Method
from ..tasks.contract import Params, Task
from .arguments import check
from .drive import cast
from .engine import draw_problem
from .finish import Share, Where, finish
from .work import Made, Work

RECORDS = ("params", "grads", "states", "steps")


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one rule on one task, a row a seed. All arrays are NumPy's.

    `params`, `grads`, `states` and `steps` are None unless they were asked for.
    """

    rule: Rule | Method
    """A solver's method where one ran in a rule's place."""
    task: Task
    seeds: np.ndarray
    """The seeds, shape (seeds,)."""
    at: np.ndarray
    """After how many steps each record was made: 0, every, 2·every, …, and the end; shape (records,)."""
    loss: np.ndarray
    """The loss of all data, shape (seeds, records)."""
    metrics: dict[str, np.ndarray]
    """What else the problem records, such as "train_accuracy" and "test_accuracy": shape (seeds, records) each."""
    mean: np.ndarray
    """The mean of the losses that the steps saw, each of its own batch, infinite for a run that diverged; (seeds,)."""
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

    @property
    def relative_mean(self) -> np.ndarray:
        """`mean` over the loss at the start, infinite where that is no number; shape (seeds,)."""
        return over_first(self.mean, self.loss[:, 0])


def over_first(mean: np.ndarray, first: np.ndarray) -> np.ndarray:
    """A mean loss over the first, infinite where that is no number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = mean.astype(float) / first
    return np.where(np.isfinite(ratios), ratios, np.inf)


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
    store: Where = None,
    executor: Executor | None = None,
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
        store: a file of finished runs, or its path: what is there is not run again, what is not is kept there.
        executor: what runs the pieces, in place of this process; a process pool must spawn its processes.

    Raises:
        BadInput: an argument is invalid, `start` has not the structure and shapes of the task's parameters, or the
            store cannot be used.
    """
    total, listed = check(rule, task, steps, seeds, dtype)
    _check_every(every, total)
    for what in record:
        if what not in RECORDS:
            raise BadInput(f"record takes any of {', '.join(RECORDS)}, not {what!r}")
    if store is not None and (record or start is not None):
        raise BadInput("the store keeps losses of runs from drawn starts; give no record= and start=, or no store=")
    with jax.enable_x64(dtype == "float64"):
        begin = None if start is None else checked_start(start, task, dtype)
    work = _work(rule, task, listed, total, every, dtype, (*record, "metrics"), begin)
    return _runs(rule, work, *finish([work], store, executor))


def run_each(
    rules: Sequence[Rule],
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    dtype: str = "float32",
    every: int = 1,
    store: Where = None,
    executor: Executor | None = None,
    share: Share = lambda done: None,
) -> list[Runs]:
    """Run several rules on the same problems; an executor has the pieces of all of them to do at a time.

    Args:
        steps, seeds, dtype, every, store, executor: as in `run`.
        share: told what share of it all is done.

    Raises:
        BadInput: as `run`.
    """
    works = []
    for rule in rules:
        total, listed = check(rule, task, steps, seeds, dtype)
        _check_every(every, total)
        works.append(_work(rule, task, listed, total, every, dtype, ("metrics",)))
    made = finish(works, store, executor, share)
    return [_runs(rule, work, came) for rule, work, came in zip(rules, works, made, strict=True)]


def _check_every(every: int, steps: int) -> None:
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= steps:
        raise BadInput(f"every must be a whole number from 1 to {steps}, the steps there are, not {every!r}")


def _work(rule: Rule, task: Task, *rest: Any) -> Work:
    return Work(jax.tree.map(lambda leaf: np.asarray(leaf)[None], rule), 1, task, *rest)


def _runs(rule: Rule, work: Work, came: Made) -> Runs:
    made = jax.tree.map(lambda x: x[0], came.arrays)
    return Runs(
        rule=rule,
        task=work.task,
        seeds=work.seeds,
        at=np.append(np.arange(0, work.steps, work.every), work.steps),
        loss=np.concatenate([made["loss"], made["final"][:, None]], axis=1),
        metrics=made.get("metrics", {}),
        mean=np.where(made["broke_at"] >= 0, np.inf, made["total"] / work.steps),
        broke_at=made["broke_at"],
        **{what: made.get(what) for what in RECORDS},
        compile_seconds=came.compile_seconds,
        run_seconds=came.run_seconds,
    )


def start_of(task: Task, seed: int, dtype: str = "float32") -> Params:
    """Where the seed's run starts: NumPy arrays of the structure of the task's parameters."""
    with jax.enable_x64(dtype == "float64"):
        return jax.tree.map(np.asarray, draw_problem(cast(task, dtype), np.uint32(seed)).start)


def checked_start(start: Params, task: Task, dtype: str) -> Params:
    """The start in the precision asked for, once it has the structure and shapes of the task's parameters.

    Raises:
        BadInput: it has not.
    """
    wanted = jax.eval_shape(lambda: task.sample(jax.random.key(0)).start)
    try:
        given = cast(np.asarray(start) if hasattr(wanted, "shape") else start, dtype)
    except (TypeError, ValueError):
        raise BadInput(f"start must hold numbers, not {start!r}") from None
    shapes = [jax.tree.map(lambda x: tuple(x.shape), tree) for tree in (wanted, given)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"start must have the shape of the task's parameters, {shapes[0]}, not {shapes[1]}")
    return given
