"""Where a rule really goes on a task: the gradients it meets, the states it passes through."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from ..errors import BadInput
from ..lab.run import run
from ..rules.contract import Rule
from ..tasks.contract import Task

SEEDS = 32
KEPT = 2048
"""How many visited states are kept: enough to start every search from."""
AWAY = 1e6
"""A gradient so many times as large as any at the start belongs to a run that diverges."""
BUDGET = 2**27
"""How many bytes of states a run may record."""


@dataclasses.dataclass(frozen=True, eq=False)
class Visits:
    """What was met on real runs, every coordinate of every parameter being one follower of the maps."""

    grads: np.ndarray
    """Shape (seeds, records, coordinates), NaN where a run had broken."""
    states: np.ndarray
    """A sample of the states, shape (n, d)."""
    diverged: int
    """How many of the seeds' runs broke."""

    @property
    def size(self) -> float:
        """The median |g| over the gradients met that are not zero; 1 where there is none."""
        sizes = np.abs(self.grads[np.isfinite(self.grads) & (self.grads != 0)])
        return float(np.median(sizes)) if sizes.size else 1.0

    def quantiles(self, *shares: float) -> np.ndarray:
        """Quantiles of |g| over the gradients met that are not zero."""
        sizes = np.abs(self.grads[np.isfinite(self.grads) & (self.grads != 0)])
        return np.quantile(sizes, shares) if sizes.size else np.ones(len(shares))


def visit(rule: Rule, task: Task, seed: int = 0) -> Visits:
    """Run a rule on a task in float64, from 32 seeds, or as few as keep the record of its states small.

    Raises:
        BadInput: every run broke at its very first step, or as `run`.
    """
    if not isinstance(task, Task):
        raise BadInput(f"a task is wanted, such as osc.task('quadratic'), not {task!r}")
    seeds, every = _affordable(rule, task)
    listed = range(seed, seed + seeds)
    runs = run(rule, task, seeds=listed, dtype="float64", every=every, record=("grads", "states"))
    leaves = jax.tree.leaves(runs.grads)
    # A run on its way to infinity has left the task: what it meets out there is none of the task's gradients.
    bound = AWAY * max(float(np.abs(leaf[:, 0][np.isfinite(leaf[:, 0])]).max(initial=0)) for leaf in leaves)
    leaves = [np.where(np.abs(leaf) <= bound, leaf, np.nan) for leaf in leaves]
    grads = np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)
    if np.isnan(grads[:, 0]).all():
        raise BadInput(f"{rule.name} met no finite gradient on {task.name}; nothing can be said about it there")
    laid = [_laid_out(entries, leaf.shape) for entries, leaf in zip(runs.states, leaves, strict=True)]
    flat = np.concatenate([rows[np.isfinite(leaf).ravel()] for rows, leaf in zip(laid, leaves, strict=True)])
    flat = flat[np.isfinite(flat).all(axis=1)]
    chosen = np.random.default_rng(seed).permutation(len(flat))[:KEPT]
    return Visits(grads, flat[np.sort(chosen)], int(runs.diverged.sum()))


def _laid_out(entries: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The states of one array's coordinates as vectors, laid out as `Dynamics` does: (seeds · records · size, d)."""
    n, runs = math.prod(shape), math.prod(shape[:2])
    columns = []
    for key in sorted(entries):
        entry = entries[key].astype(float)
        own = entry.shape[: len(shape)] == shape
        columns.append(entry.reshape(n, -1) if own else np.repeat(entry.reshape(runs, -1), n // runs, axis=0))
    return np.concatenate(columns, axis=1) if columns else np.zeros((n, 0))


def _affordable(rule: Rule, task: Task) -> tuple[int, int]:
    """How many seeds to run, and once in how many steps to record."""
    start = jax.eval_shape(lambda: task.sample(jax.random.key(0)).start)
    kept: Any = jax.eval_shape(lambda: [rule.init(leaf, jax.numpy) for leaf in jax.tree.leaves(_zeros(start))])
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves((start, kept)))
    lanes = max(1, BUDGET // (8 * numbers * task.steps))
    every = -(-8 * numbers * task.steps // BUDGET)
    return min(SEEDS, lanes), min(every, task.steps)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), shapes)
