"""How a step's view of the loss is drawn: everything, some rows, or the whole with noise.

Gradient descent, mini-batch and stochastic gradient descent are one rule under three of these. A sampler is static;
what it remembers between steps is an explicit state, so that it lives inside a compiled loop.
"""

from __future__ import annotations

import dataclasses
import numbers
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput


class Rows(NamedTuple):
    """A mini-batch: indices of rows, and a 0/1 weight for each where the batch may be short (None: all count)."""

    rows: jax.Array
    weight: jax.Array | None


class Batches(ABC):
    """A sampler of batches."""

    @abstractmethod
    def begin(self, key: jax.Array) -> Any:
        """The state before the first step."""

    @abstractmethod
    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        """The batch for the step after `k` steps, and the next state."""


@dataclasses.dataclass(frozen=True)
class Everything(Batches):
    """Full batch: the loss itself."""

    def begin(self, key: jax.Array) -> Any:
        return ()

    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        return None, state


@dataclasses.dataclass(frozen=True)
class Noise(Batches):
    """The full gradient plus normal noise of standard deviation `scale` in each of its `shape`'s entries."""

    shape: tuple[int, ...]
    scale: float

    def __post_init__(self) -> None:
        if not (isinstance(self.scale, numbers.Real) and 0 <= self.scale < float("inf")):
            raise BadInput(f"noise must be a finite number ≥ 0, not {self.scale!r}")

    def begin(self, key: jax.Array) -> Any:
        return key

    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        return self.scale * jax.random.normal(jax.random.fold_in(state, k), self.shape), state


@dataclasses.dataclass(frozen=True)
class _SomeRows(Batches):
    rows: int
    size: int

    def __post_init__(self) -> None:
        whole = isinstance(self.size, numbers.Integral) and not isinstance(self.size, bool)
        if not whole or not 1 <= self.size <= self.rows:
            raise BadInput(f"batch must be a whole number from 1 to {self.rows}, the rows there are, not {self.size!r}")

    @property
    def per_epoch(self) -> int:
        """Steps that see every row once: the last batch may be short."""
        return -(-self.rows // self.size)

    def begin(self, key: jax.Array) -> Any:
        return key


class WithReplacement(_SomeRows):
    """Each step draws `size` rows afresh, the same row possibly twice."""

    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        return Rows(jax.random.randint(jax.random.fold_in(state, k), (self.size,), 0, self.rows), None), state


class WithoutReplacement(_SomeRows):
    """Each step draws `size` different rows afresh."""

    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        key = jax.random.fold_in(state, k)
        return Rows(jax.random.choice(key, self.rows, (self.size,), replace=False), None), state


class Epochs(_SomeRows):
    """Every epoch shuffles the rows and cuts them into batches of `size`, the last one short where it must be."""

    def begin(self, key: jax.Array) -> Any:
        return key, jnp.zeros(self.per_epoch * self.size, jnp.int32)

    def draw(self, state: Any, k: Any) -> tuple[Any, Any]:
        key, order = state
        epoch, place = k // self.per_epoch, k % self.per_epoch
        # `k` is the same for all seeds, so this stays a branch under vmap: rows are shuffled once an epoch.
        order = jax.lax.cond(place == 0, lambda: self._shuffled(jax.random.fold_in(key, epoch)), lambda: order)
        rows = jax.lax.dynamic_slice(order, (place * self.size,), (self.size,))
        if self.per_epoch * self.size == self.rows:
            return Rows(rows, None), (key, order)
        return Rows(rows, place * self.size + jnp.arange(self.size) < self.rows), (key, order)

    def _shuffled(self, key: jax.Array) -> jax.Array:
        order = jax.random.permutation(key, jnp.arange(self.rows, dtype=jnp.int32))
        return jnp.pad(order, (0, self.per_epoch * self.size - self.rows))


SAMPLINGS: dict[str, Any] = {
    "epochs": Epochs,
    "with replacement": WithReplacement,
    "without replacement": WithoutReplacement,
}


def batches(rows: int, batch: int | None, sampling: str) -> Batches:
    """The sampler over `rows` rows: everything for a `batch` of None or of all rows in epochs.

    Raises:
        BadInput: a batch larger than the data or not a positive whole number, or an unknown sampling.
    """
    if sampling not in SAMPLINGS:
        raise BadInput(f"sampling must be one of {', '.join(map(repr, SAMPLINGS))}, not {sampling!r}")
    if batch is None or (batch == rows and sampling != "with replacement"):
        return Everything()
    return SAMPLINGS[sampling](rows, batch)
