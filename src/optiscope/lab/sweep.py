"""Many settings of one rule on many seeds, in one compiled program: what tuning is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor

import jax
import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Task
from .arguments import check
from .finish import Share, Where, finish
from .run import over_first
from .work import Work


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The scores of a sweep, each of shape (settings, seeds). A run that diverged scores infinity."""

    first: np.ndarray
    """The loss of all data at the start."""
    final: np.ndarray
    """The loss of all data at the end."""
    mean: np.ndarray
    """The mean of the losses that the steps saw, each of its own batch (on a full batch, of the loss curve)."""
    broke_at: np.ndarray
    """After how many steps the loss was first not finite; −1 for never."""
    compile_seconds: float
    run_seconds: float

    @property
    def relative_mean(self) -> np.ndarray:
        """`mean` over the loss at the start, infinite where that is no number."""
        return over_first(self.mean, self.first)


def stack(rules: Sequence[Rule]) -> Rule:
    """Rules of one kind as one rule whose leaves have a leading axis.

    Raises:
        BadInput: the rules differ in more than their numbers.
    """
    if len({jax.tree.structure(rule) for rule in rules}) != 1:
        raise BadInput("a sweep needs rules of one kind, with the same variants and the same fields set")
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rules)


def sweep(
    rules: Rule,
    task: Task,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 128,
    dtype: str = "float32",
    store: Where = None,
    executor: Executor | None = None,
    share: Share = lambda done: None,
) -> Sweep:
    """Score every setting in `rules`, a rule whose leaves have a leading axis (see `stack`), on every seed.

    Args:
        steps, seeds, dtype, store, executor: as in `run`.
        share: told what share of it is done.

    Raises:
        BadInput: an argument is invalid, or the store cannot be used.
    """
    total, listed = check(rules, task, steps, seeds, dtype)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(rules)}
    if len(lengths) != 1 or lengths == {()}:
        raise BadInput("a sweep needs a rule whose leaves all have one leading axis; make it with stack([...])")
    ((settings,),) = lengths
    work = Work(rules, settings, task, listed, total, total, dtype)
    (came,) = finish([work], store, executor, share)
    made = came.arrays
    broken = made["broke_at"] >= 0
    final, mean = (np.where(broken, np.inf, score) for score in (made["final"], made["total"] / total))
    return Sweep(made["loss"][:, :, 0], final, mean, made["broke_at"], came.compile_seconds, came.run_seconds)
