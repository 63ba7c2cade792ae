"""Learning from rows: a model, a loss for each row, and the rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..values import static, value
from .batches import Batches
from .contract import Params, Problem, Task

Loss = Callable[[Any, Any], Any]
"""(outputs (rows, out), targets (rows, out)) → the loss of each row, shape (rows,)."""


def half_squared(outputs: Any, targets: Any) -> Any:
    """½ ‖ŷ − y‖² a row."""
    return jnp.sum((outputs - targets) ** 2, axis=-1) / 2


def logistic(outputs: Any, targets: Any) -> Any:
    """Cross-entropy of a probability σ(output) against a label in {0, 1}, a row."""
    return jnp.sum(jnp.logaddexp(0.0, outputs) - targets * outputs, axis=-1)


def softmax(outputs: Any, targets: Any) -> Any:
    """Cross-entropy of the softmax of the outputs against one-hot targets, a row."""
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), axis=-1)


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


@value
class MLP:
    """A multilayer perceptron; with two sizes, a linear model.

    Weights are normal with standard deviation `scale`, or √(1 / inputs) for "lecun" (LeCun et al., 1998) and
    √(2 / inputs) for "he" (He et al., 2015); biases are zero.
    """

    sizes: tuple[int, ...] = static()
    hidden: str = static(default="tanh")
    output: str = static(default="identity")
    scale: float | str = static(default="lecun")

    def init(self, key: Any) -> Params:
        layers = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            gains = {"lecun": 1.0, "he": 2.0}
            scale = (gains[self.scale] / fan_in) ** 0.5 if isinstance(self.scale, str) else self.scale
            w = scale * jax.random.normal(jax.random.fold_in(key, i), (fan_in, fan_out))
            layers.append({"w": w, "b": jnp.zeros((fan_out,))})
        return layers

    def __call__(self, params: Params, inputs: Any) -> Any:
        x = inputs
        for layer in params[:-1]:
            x = _ACTIVATIONS[self.hidden](x @ layer["w"] + layer["b"][None, :])
        return _ACTIVATIONS[self.output](x @ params[-1]["w"] + params[-1]["b"][None, :])


@value
class Fit(Problem):
    """Rows to fit: the loss is the mean of the rows' losses, and `penalty` times the norm of all parameters."""

    start: Params
    inputs: jax.Array
    targets: jax.Array
    model: MLP = static()
    row_loss: Loss = static()
    batches: Batches = static()
    penalty: float | None = static(default=None)

    def loss(self, params: Params, batch: Any = None) -> Any:
        fit = self._mean(params, batch)
        if self.penalty is None:
            return fit
        return fit + self.penalty * jnp.sqrt(sum(jnp.sum(p**2) for p in jax.tree.leaves(params)))

    def _mean(self, params: Params, batch: Any) -> Any:
        if batch is None:
            return jnp.mean(self.row_loss(self.model(params, self.inputs), self.targets))
        losses = self.row_loss(self.model(params, self.inputs[batch.rows]), self.targets[batch.rows])
        if batch.weight is None:
            return jnp.mean(losses)
        return jnp.sum(losses * batch.weight) / jnp.sum(batch.weight)


@value
class Dataset(Task):
    """A data set, the same for every seed: what a seed draws is the start and the order of the rows."""

    inputs: Any
    targets: Any
    name: str = static()
    model: MLP = static()
    row_loss: Loss = static()
    batches: Batches = static()
    least: float | None = static(default=None)

    @property
    def optimum(self) -> float | None:
        return self.least

    @property
    def steps(self) -> int:
        """Two epochs, or 200 steps where that is more."""
        return max(200, 2 * getattr(self.batches, "per_epoch", 1))

    def sample(self, key: Any) -> Fit:
        return Fit(self.model.init(key), self.inputs, self.targets, self.model, self.row_loss, self.batches)
