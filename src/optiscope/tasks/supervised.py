"""Learning from rows: a model, a loss for each row, and the rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from ..errors import BadInput
from ..values import static, value
from .batches import Batches
from .contract import Params, Problem, Task
from .means import mean_of_all, mean_of_batch

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


def _right_sign(outputs: Any, targets: Any) -> Any:
    return jnp.all((outputs > 0) == (targets > 0.5), axis=-1)


def _right_class(outputs: Any, targets: Any) -> Any:
    return jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)


_RIGHT: dict[Loss, Loss] = {logistic: _right_sign, softmax: _right_class}
"""Whether a row is classified rightly, for the losses that classify."""


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Model(Protocol):
    """A network: `init(key)` draws its parameters, and a call maps inputs (rows, …) to outputs (rows, out)."""

    def init(self, key: Any) -> Params: ...

    def __call__(self, params: Params, inputs: Any) -> Any: ...


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

    def __post_init__(self) -> None:
        for given in (self.hidden, self.output):
            if given not in ACTIVATIONS:
                raise BadInput(f"an activation is one of {', '.join(ACTIVATIONS)}, not {given!r}")

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
            x = ACTIVATIONS[self.hidden](x @ layer["w"] + layer["b"][None, :])
        return ACTIVATIONS[self.output](x @ params[-1]["w"] + params[-1]["b"][None, :])


@value
class Fit(Problem):
    """Rows to fit: the loss is the mean of the rows' losses, and `penalty` times the norm of all parameters.

    Recorded beside it are the mean loss of the `test` rows, and, where the loss classifies, the shares of the rows and
    of the test rows that are classified rightly.
    """

    start: Params
    inputs: jax.Array
    targets: jax.Array
    model: Model = static()
    row_loss: Loss = static()
    batches: Batches = static()
    penalty: float | None = static(default=None)
    judged: int | None = static(default=None)
    """The loss that is recorded is that of so many rows, the first ones, where that of all would cost too much."""
    test: tuple[jax.Array, jax.Array] | None = None
    """Inputs and targets that no step sees."""

    def loss(self, params: Params, batch: Any = None) -> Any:
        def losses(rows: tuple[Any, Any]) -> Any:
            return self.row_loss(self.model(params, rows[0]), rows[1])

        if batch is None:
            return self._penalised(params, mean_of_all(losses, self._judged))
        return self._penalised(params, mean_of_batch(losses, (self.inputs, self.targets), batch))

    def record(self, params: Params) -> tuple[Any, dict[str, Any]]:
        right = _RIGHT.get(self.row_loss)

        def scores(rows: tuple[Any, Any]) -> dict[str, Any]:
            outputs = self.model(params, rows[0])
            found = {"loss": self.row_loss(outputs, rows[1])}
            return found if right is None else {**found, "accuracy": right(outputs, rows[1]).astype(outputs.dtype)}

        metrics = mean_of_all(scores, self._judged)
        loss = self._penalised(params, metrics.pop("loss"))
        found = {f"train_{name}": share for name, share in metrics.items()}
        if self.test is not None:
            found |= {f"test_{name}": score for name, score in mean_of_all(scores, self.test).items()}
        return loss, found

    @property
    def _judged(self) -> tuple[Any, Any]:
        return self.inputs[: self.judged], self.targets[: self.judged]

    def _penalised(self, params: Params, fit: Any) -> Any:
        if self.penalty is None:
            return fit
        return fit + self.penalty * jnp.sqrt(sum(jnp.sum(p**2) for p in jax.tree.leaves(params)))


@value
class Dataset(Task):
    """A data set, the same for every seed: what a seed draws is the start and the order of the rows."""

    inputs: Any
    targets: Any
    name: str = static()
    model: Model = static()
    row_loss: Loss = static()
    batches: Batches = static()
    least: float | None = static(default=None)
    judged: int | None = static(default=None)
    """See `Fit`."""
    horizon: int | None = static(default=None)
    """How many steps a run takes; None for two epochs, or 200 steps where that is more."""
    test: Any = None

    @property
    def optimum(self) -> float | None:
        return self.least

    @property
    def steps(self) -> int:
        return self.horizon or max(200, 2 * getattr(self.batches, "per_epoch", 1))

    def sample(self, key: Any) -> Fit:
        return Fit(
            self.model.init(key), self.inputs, self.targets, self.model, self.row_loss, self.batches,
            judged=self.judged, test=self.test,
        )  # fmt: skip
