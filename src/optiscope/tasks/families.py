"""Many tasks from one: what a learned optimizer is trained on to serve on tasks it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..values import static, value
from .batches import Batches
from .checks import check_whole
from .contract import Params, Problem, Task, task
from .supervised import ACTIVATIONS

DATA = ("digits", "two-moons", "airfoil-mlp")
DEPTHS = (1, 2, 3)
WIDTHS = (4, 64)
NONLINEAR = tuple(name for name in ACTIVATIONS if name != "identity")


def networks(count: int, seed: int = 0, data: Sequence[str] = DATA) -> list[Task]:
    """Tasks with networks of random depth (1 to 3 hidden layers), widths (log-uniform from 4 to 64) and activation.

    Each is a task of its own, for a network's shapes are part of the compiled program; data sets take turns.

    Args:
        count: how many.
        seed: of the draws; the first tasks of a longer list are those of a shorter one.
        data: names of tasks that take `hidden` and `activation`.

    Raises:
        BadInput: count is no whole number ≥ 1, or as `task`.
    """
    check_whole("networks", "count", count)
    draws = np.random.default_rng(seed)
    low, high = np.log(WIDTHS)
    made = []
    for i in range(count):
        hidden = np.exp(draws.uniform(low, high, draws.choice(DEPTHS))).round().astype(int).tolist()
        made.append(task(data[i % len(data)], hidden=hidden, activation=str(draws.choice(NONLINEAR))))
    return made


@value
class RescaledProblem(Problem):
    """A problem in other units: each array of the parameters is a multiple of what the problem takes."""

    start: Params
    problem: Problem
    scales: Any
    batches: Batches = static()

    def loss(self, params: Params, batch: Any = None) -> Any:
        return self.problem.loss(self._own(params), batch)

    def record(self, params: Params) -> tuple[Any, dict[str, Any]]:
        return self.problem.record(self._own(params))

    def _own(self, params: Params) -> Params:
        return jax.tree.map(jnp.multiply, self.scales, params)


@value
class Rescaled(Task):
    """A task whose problems have their parameters in random units.

    Each array of θ is replaced by s·φ with s from 10^U[−decades, decades], and φ is what is optimized: no rule can rely
    on the size of a gradient or of a parameter (Celo2, arXiv 2602.19142, meta-trains so, with three decades).
    """

    task: Task
    decades: float = 3.0

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.task.name}, rescaled"

    @property
    def steps(self) -> int:
        return self.task.steps

    @property
    def optimum(self) -> float | None:
        return self.task.optimum

    def sample(self, key: Any) -> RescaledProblem:
        own, units = jax.random.split(key)
        problem = self.task.sample(own)
        leaves, shape = jax.tree.flatten(problem.start)
        exponents = jax.random.uniform(units, (len(leaves),), None, -self.decades, self.decades)
        scales = jax.tree.unflatten(shape, list(10**exponents))
        start = jax.tree.map(jnp.divide, problem.start, scales)
        return RescaledProblem(start, problem, scales, problem.batches)
