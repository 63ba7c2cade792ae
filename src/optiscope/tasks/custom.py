"""A task from a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..values import static, value
from .batches import Batches, Everything, batches
from .contract import Params, Problem, Task
from .means import mean_of_all, mean_of_batch

Metrics = Callable[[Params], Mapping[str, Any]]


@value
class CustomProblem(Problem):
    """A user's loss: of the parameters alone, or, where there are data, the mean over the rows."""

    start: Params
    data: Any
    function: Callable[..., Any] = static()
    metrics: Metrics | None = static()
    batches: Batches = static()

    def loss(self, params: Params, batch: Any = None) -> Any:
        if self.data is None:
            return self.function(params)

        def losses(rows: Any) -> Any:
            return jax.vmap(self.function, (None, 0))(params, rows)

        return mean_of_all(losses, self.data) if batch is None else mean_of_batch(losses, self.data, batch)

    def record(self, params: Params) -> tuple[Any, dict[str, Any]]:
        return self.loss(params), {} if self.metrics is None else dict(self.metrics(params))


@value
class Custom(Task):
    """A user's loss, the same for every seed: what a seed draws is the start, if it is drawn, and the batches."""

    init: Any
    """The start, where it is the same for every seed, else None."""
    data: Any
    name: str = static()
    function: Callable[..., Any] = static()
    draw: Callable[[Any], Params] | None = static()
    metrics: Metrics | None = static()
    batches: Batches = static()
    least: float | None = static(default=None)

    @property
    def optimum(self) -> float | None:
        return self.least

    def sample(self, key: Any) -> CustomProblem:
        start = jax.tree.map(jnp.asarray, self.init if self.draw is None else self.draw(key))
        return CustomProblem(start, self.data, self.function, self.metrics, self.batches)


def from_loss(
    loss: Callable[..., Any],
    init: Any,
    *,
    data: Any = None,
    batch: int | None = None,
    sampling: str = "epochs",
    metrics: Metrics | None = None,
    optimum: float | None = None,
    name: str | None = None,
) -> Custom:
    """A task from a loss of your own, which is tried once at a start.

    Args:
        loss: `loss(params)`, one number; with `data`, `loss(params, row)`, the loss of one row, of which the mean over
            the rows is taken. It is compiled: written with `jax.numpy`, and `jnp.where` in place of `if` on values.
        init: the parameters to start from, numbers or arrays in lists, tuples or dicts; or a function of a JAX random
            key that draws them, one start for each seed.
        data: arrays in lists, tuples or dicts whose first axis are the rows.
        batch, sampling: how many rows each step sees, None for all; and how they are drawn, as in the other tasks.
        metrics: `metrics(params)`, a dict of scalars that are recorded with the loss.
        optimum: the least loss there is, if it is known.
        name: what tables and pictures call it; the function's name by default.

    Raises:
        BadInput: the loss or the start is not as said, or the loss at the start is not finite; or as `batches`.
    """
    for what, given in (("loss", loss), *([("metrics", metrics)] if metrics is not None else [])):
        if not callable(given):
            raise BadInput(f"{what} must be a function, not {given!r}")
    drawn, fixed = (init, None) if callable(init) else (None, _numbers("init", init))
    sampler: Batches = Everything()
    if data is not None:
        data = _numbers("data", data)
        lengths = {np.shape(array)[:1] for array in jax.tree.leaves(data)}
        if len(lengths) != 1 or lengths <= {(), (0,)}:
            raise BadInput("data must be arrays of one length along their first axis, the rows, and at least one row")
        sampler = batches(lengths.pop()[0], batch, sampling)
    elif batch is not None:
        raise BadInput(f"batch={batch!r} needs data= to draw rows from")
    label = name or getattr(loss, "__name__", "custom").strip("<>")
    task = Custom(fixed, data, label, loss, drawn, metrics, sampler, optimum)
    _tried(task)
    return task


def _numbers(what: str, tree: Any) -> Any:
    """A tree of arrays, its numbers floating; whole numbers and truth values stay what they are only in data."""

    def one(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.dtype.kind not in "fiub":
            raise BadInput(f"{what} must hold numbers, not {leaf!r}")
        return array if what == "data" else array.astype(float)

    return jax.tree.map(one, tree, is_leaf=lambda leaf: leaf is None)


def _tried(task: Custom) -> None:
    """Refuse a loss that cannot be run, by running it once."""
    if task.draw is not None:
        _call("init", lambda: task.sample(jax.random.key(0)))
    problem = task.sample(jax.random.key(0))
    row = () if task.data is None else (jax.tree.map(lambda array: array[0], task.data),)
    made = _call("the loss", jax.eval_shape, task.function, problem.start, *row)
    if not isinstance(made, jax.ShapeDtypeStruct):
        raise BadInput(f"the loss must return one number{' a row' if row else ''}, not a {type(made).__name__}")
    if made.shape != () or not jnp.issubdtype(made.dtype, jnp.floating):
        what = f"an array of shape {made.shape}" if made.shape else f"one of type {made.dtype}"
        raise BadInput(f"the loss must return one floating number{' a row' if row else ''}, not {what}")
    for name, scalar in _call("metrics", jax.eval_shape, problem.record, problem.start)[1].items():
        if getattr(scalar, "shape", None) != ():
            raise BadInput(f"metrics must return a dict of scalars, and {name!r} is none")
    height = float(_call("the loss", jax.jit(problem.loss), problem.start))
    if not np.isfinite(height):
        raise BadInput(f"the loss is {height} at the start; start where it is finite")


def _call(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        raise BadInput(
            f"{what} cannot be compiled, for it branches on a value or leaves JAX; "
            "write it with jax.numpy, and jnp.where in place of if"
        ) from None
    except BadInput:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise BadInput(f"{what} raised {type(error).__name__}: {said}") from error
