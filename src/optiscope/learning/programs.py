"""The compiled programs of a training. The lanes of an estimate are shared out to the devices there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import BadInput
from ..tasks.contract import Task
from .estimators import Estimator
from .inner import Inner
from .leaves import Leaves, Theta
from .outer import Optimizer, Outer, stepped

LENGTHS = 5
"""How many different lengths runs of random length have, evenly in the logarithm: each is a program of its own."""
HELD_OUT = 2**31
"""Added to the seed for the problems of the validation, which no outer step meets."""
SHARED, WHOLE = PartitionSpec("lanes"), PartitionSpec()  # type: ignore[no-untyped-call]


@dataclasses.dataclass(eq=False)
class Programs:
    """What a training computes, each program made at its first use. The numbers are `train`'s arguments."""

    leaves: Leaves
    tasks: list[Task]
    estimator: Estimator
    optimizer: Optimizer
    low: int
    high: int
    clamp: float | None
    l2: float
    validation: int
    seed: int

    def __post_init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def begin(self) -> Outer:
        """The state before the first outer step."""
        theta = jax.tree.map(np.asarray, self.leaves.theta())
        lanes = tuple(self._program(self._begin, i, 0)(theta, task) for i, task in enumerate(self.tasks))
        state = jax.tree.map(np.asarray, self.optimizer.init(theta))
        none = np.zeros((), jax.tree.leaves(theta)[0].dtype), np.zeros((), np.int32)
        # Where the steps leave it, or the first step would be compiled for another place than all that follow.
        everywhere = NamedSharding(self._mesh, WHOLE)
        theta, state, (loss, rejected) = jax.device_put((theta, state, none), everywhere)
        return Outer(theta, state, lanes, loss, rejected)

    def step(self, outer: Outer, k: int) -> Outer:
        """The state after the outer step that comes after `k` others: the tasks take turns."""
        which = k % len(self.tasks)
        length = self.estimator.truncation or self._length(k)
        return self._program(self._step, which, length)(outer, self.tasks[which], np.int32(k))

    def validate(self, theta: Theta) -> tuple[float | None, int]:
        """The mean over held-out problems of the mean loss over the first, and how many are not finite, nor in it."""
        made = [self._program(self._validate, i, self.high)(theta, task) for i, task in enumerate(self.tasks)]
        total, diverged = sum(float(each[0]) for each in made), sum(int(each[1]) for each in made)
        sound = len(made) * self._held_out - diverged
        return total / sound if sound else None, diverged

    def _length(self, k: int) -> int:
        """The length of the runs of an outer step."""
        if self.low == self.high:
            return self.high
        at = np.random.default_rng((self.seed, k)).integers(LENGTHS) / (LENGTHS - 1)
        return round(self.low * (self.high / self.low) ** at)

    def _program(self, made_by: Callable[..., Any], which: int, length: int) -> Any:
        key = made_by.__name__, which, length
        if key not in self._made:
            self._made[key] = jax.jit(partial(made_by, which, length))
        return self._made[key]

    def _begin(self, which: int, length: int, theta: Theta, task: Task) -> Any:
        keys, horizons = self._drawn(which, jnp.int32(-1))
        # The first runs end early, at random, so that the lanes never begin anew all at once.
        stretch = self.estimator.truncation or 1
        ends = jax.random.uniform(jax.random.key(self.seed), horizons.shape)
        ends = (stretch + ends * jnp.maximum(horizons - stretch, 0)).astype(jnp.int32)

        def begin(theta: Theta, task: Task, keys: Any, ends: Any) -> Any:
            inner = self._inner(task)
            return jax.vmap(lambda key, end: self.estimator.begin(inner, theta, key, end))(keys, ends)

        return self._shared(begin, WHOLE, WHOLE, SHARED, SHARED, out=SHARED)(theta, task, keys, ends)

    def _step(self, which: int, length: int, outer: Outer, task: Task, k: Any) -> Outer:
        def estimate(theta: Theta, task: Task, lanes: Any, keys: Any, horizons: Any) -> Any:
            made, lanes = self.estimator.estimate(self._inner(task), theta, lanes, keys, horizons, length)
            return jax.tree.map(partial(jax.lax.pmean, axis_name="lanes"), made), lanes

        shared = self._shared(estimate, WHOLE, WHOLE, SHARED, SHARED, SHARED, out=(WHOLE, SHARED))
        made, lanes = shared(outer.theta, task, outer.lanes[which], *self._drawn(which, k))
        return stepped(outer, which, made, lanes, self.optimizer, self.l2)

    def _validate(self, which: int, length: int, theta: Theta, task: Task) -> tuple[Any, Any]:
        def scores(theta: Theta, task: Task, keys: Any) -> tuple[Any, Any]:
            inner = dataclasses.replace(self._inner(task), clamp=None)
            each = jax.vmap(lambda key: inner.unrolled(theta, key, length))(keys)
            sound = jnp.isfinite(each)
            sums = jnp.sum(jnp.where(sound, each, 0)), jnp.sum(~sound)
            return jax.tree.map(partial(jax.lax.psum, axis_name="lanes"), sums)

        keys = _keys(jax.random.key(self.seed + HELD_OUT), which, self._held_out)
        return self._shared(scores, WHOLE, WHOLE, SHARED, out=WHOLE)(theta, task, keys)

    def _inner(self, task: Task) -> Inner:
        return Inner(self.leaves, task, self.clamp)

    def _drawn(self, which: int, k: Any) -> tuple[Any, Any]:
        """The keys and the horizons of the lanes for the outer step after `k` others."""
        root = jax.random.fold_in(jax.random.key(self.seed), k)
        at = jax.random.uniform(jax.random.fold_in(root, 1), (self.estimator.lanes,))
        horizons = jnp.round(self.low * (self.high / self.low) ** at).astype(jnp.int32)
        return _keys(root, which, self.estimator.lanes), horizons

    def _shared(self, function: Callable, *specs: Any, out: Any) -> Any:
        return jax.shard_map(function, mesh=self._mesh, in_specs=specs, out_specs=out, check_vma=False)

    @cached_property
    def _mesh(self) -> Mesh:
        """As many of the devices as the lanes can be shared out to evenly; with several processes, all of them."""
        lanes, devices = self.estimator.lanes, jax.devices()
        if jax.process_count() == 1:
            devices = devices[: max(n for n in range(1, len(devices) + 1) if lanes % n == 0)]
        elif lanes % len(devices):
            raise BadInput(f"{lanes} lanes do not divide among {len(devices)} devices; give the estimator a multiple")
        return Mesh(np.array(devices), ("lanes",))

    @cached_property
    def _held_out(self) -> int:
        return -(-self.validation // self._mesh.size) * self._mesh.size


def _keys(root: Any, which: int, many: int) -> Any:
    return jax.random.key_data(jax.random.split(jax.random.fold_in(root, which), many))
