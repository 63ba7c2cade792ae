"""Fitting problems whose rows are drawn anew for every seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..values import static, value
from .batches import Batches, batches
from .checks import check_whole, widths
from .contract import Task, task
from .supervised import MLP, Fit, Loss, half_squared, logistic

Draw = Callable[[Any, int, int], tuple[Any, Any]]
"""(key, rows, features) → (inputs (rows, features), targets (rows, 1))."""


@value
class Synthetic(Task):
    """A distribution of data sets."""

    name: str = static()
    draw: Draw = static()
    rows: int = static()
    model: MLP = static()
    row_loss: Loss = static()
    batches: Batches = static()
    penalty: float | None = static(default=None)

    def sample(self, key: Any) -> Fit:
        start, data = jax.random.split(key)
        inputs, targets = self.draw(data, self.rows, self.model.sizes[0])
        start = self.model.init(start)
        return Fit(start, inputs, targets, self.model, self.row_loss, self.batches, self.penalty)


def _linear(key: Any, rows: int, features: int) -> tuple[Any, Any]:
    x, w, noise = jax.random.split(key, 3)
    inputs = jax.random.normal(x, (rows, features))
    targets = inputs @ jax.random.normal(w, (features, 1)) + 0.1 * jax.random.normal(noise, (rows, 1))
    return inputs, targets


def _labels(key: Any, rows: int, features: int) -> tuple[Any, Any]:
    x, w, coin = jax.random.split(key, 3)
    inputs = jax.random.normal(x, (rows, features))
    odds = inputs @ (3 * jax.random.normal(w, (features, 1)))
    return inputs, jax.random.bernoulli(coin, jax.nn.sigmoid(odds)).astype(inputs.dtype)


def _xor(key: Any, rows: int, features: int) -> tuple[Any, Any]:
    inputs = jax.random.normal(key, (rows, features))
    return inputs, jnp.all(inputs > 0, axis=1, keepdims=True) ^ jnp.any(inputs > 0, axis=1, keepdims=True)


def _moons(key: Any, rows: int, features: int) -> tuple[Any, Any]:
    turn, noise = jax.random.split(key)
    angle = math.pi * jax.random.uniform(turn, (rows, 1))
    lower = (jnp.arange(rows) % 2 == 1)[:, None]
    upper_moon = jnp.hstack([jnp.cos(angle), jnp.sin(angle)])
    lower_moon = jnp.hstack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)])
    inputs = jnp.where(lower, lower_moon, upper_moon) + 0.1 * jax.random.normal(noise, (rows, features))
    return inputs, lower.astype(inputs.dtype)


@task
def linear_regression(rows: int = 100, features: int = 5, batch: int | None = None, sampling: str = "epochs") -> Task:
    """Least squares for y = xᵀw + 0.1 ε, everything standard normal and new for each seed"""
    check_whole("linear-regression", "rows", rows)
    check_whole("linear-regression", "features", features)
    model = MLP((features, 1), scale=0.01)
    return Synthetic("linear-regression", _linear, rows, model, half_squared, batches(rows, batch, sampling))


@task
def logistic_regression(rows: int = 100, features: int = 5, batch: int | None = None, sampling: str = "epochs") -> Task:
    """Cross-entropy for labels drawn with probability σ(xᵀw), w ~ N(0, 9), new for each seed"""
    check_whole("logistic-regression", "rows", rows)
    check_whole("logistic-regression", "features", features)
    model = MLP((features, 1), scale=0.01)
    return Synthetic("logistic-regression", _labels, rows, model, logistic, batches(rows, batch, sampling))


@task
def xor(rows: int = 200, hidden: int = 4, batch: int | None = None, sampling: str = "epochs") -> Task:
    """The exclusive or of two signs, learned by a 2–4–1 sigmoid network with ½ squared error"""
    check_whole("xor", "rows", rows)
    check_whole("xor", "hidden", hidden)
    model = MLP((2, hidden, 1), hidden="sigmoid", output="sigmoid", scale=1.0)
    return Synthetic("xor", _xor, rows, model, half_squared, batches(rows, batch, sampling))


@task
def two_moons(
    rows: int = 1024,
    hidden: int | Sequence[int] = (16, 16),
    activation: str = "tanh",
    batch: int | None = None,
    sampling: str = "epochs",
) -> Task:
    """Two interleaved half circles with noise 0.1, a 2–16–16–1 tanh network, logistic loss + 5e-3 ‖θ‖₂"""
    check_whole("two-moons", "rows", rows)
    model = MLP((2, *widths("two-moons", hidden), 1), hidden=activation)
    return Synthetic("two-moons", _moons, rows, model, logistic, batches(rows, batch, sampling), penalty=5e-3)
