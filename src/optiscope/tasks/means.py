"""Means over rows, of a batch or of all: those of all are taken block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .batches import Rows

BLOCK = 2048
"""Rows that go through a model at a time where the mean of all is wanted: their activations stay small."""

Scores = Callable[[Any], Any]
"""Arrays of shape (rows, …) → a tree of scores, each of shape (rows,)."""


def mean_of_batch(score: Callable[[Any], Any], data: Any, batch: Rows) -> Any:
    """The mean score of a batch's rows."""
    scores = score(jax.tree.map(lambda array: jnp.asarray(array)[batch.rows], data))
    return jnp.mean(scores) if batch.weight is None else jnp.sum(scores * batch.weight) / jnp.sum(batch.weight)


def mean_of_all(scores: Scores, data: Any) -> Any:
    """The mean of each score over all rows, which pass once."""
    count = len(jax.tree.leaves(data)[0])
    if count <= BLOCK:
        return jax.tree.map(jnp.mean, scores(data))

    def block(start: Any) -> Any:
        # The last block begins early, to be as long as the others, and only what is new in it counts.
        first = jnp.minimum(start, count - BLOCK)
        rows = jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, first, BLOCK), data)
        new = first + jnp.arange(BLOCK) >= start
        return jax.tree.map(lambda score: jnp.sum(jnp.where(new, score, 0)), scores(rows))

    return jax.tree.map(lambda sums: jnp.sum(sums) / count, jax.lax.map(block, jnp.arange(0, count, BLOCK)))
