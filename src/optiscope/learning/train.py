"""Meta-training: choose the leaves of a rule so that its runs on a family of problems go down fast."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput
from ..lab.arguments import DTYPES
from ..lab.drive import cast
from ..lab.environment import environment
from ..lab.finish import Where
from ..lab.store import opened
from ..rules.adaptive import Adam
from ..rules.contract import Rule
from ..rules.schedules import Exponential
from ..rules.wrappers import ClipByValue, Scheduled
from ..tasks.contract import Task
from . import checkpoints
from .estimators import Estimator
from .estimators import estimator as estimator_of
from .leaves import Leaves, leaves, settled
from .outer import Outer, as_optimizer
from .programs import Programs

KEPT = 4
"""Of how many trainings the compiled programs are kept, the latest begun."""
_kept: OrderedDict[Any, Programs] = OrderedDict()

Progress = Callable[[int, dict[str, Any] | None], None]
"""Called with the number of outer steps taken, and with a row of the history where one was added."""


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """What a training came to."""

    rule: Rule
    """The rule with the leaves of the best validation."""
    last: Rule
    """The rule with the leaves of the last step."""
    history: tuple[dict[str, Any], ...]
    """A row a report: `step`; `loss`, the mean of the meta-losses since the last; `validation`, the mean over held-out
    problems of the mean loss over the first, and how many `diverged` and are not in it; `rejected`, the outer steps
    since the last whose estimate was not finite; `back_to`, the step of the best validation where the training went on
    from there again, or None; `seconds` so far."""
    ended: str
    """How it ended, in a sentence."""

    @property
    def best(self) -> dict[str, Any]:
        """The row of the history that the rule is from."""
        return min(self.history, key=_order)

    @property
    def rejected(self) -> int:
        """How many outer steps were not taken."""
        return sum(row["rejected"] for row in self.history)


def train(
    rule: Rule,
    task: Task | Sequence[Task],
    *,
    steps: int = 5000,
    unroll: int | tuple[int, int] = 200,
    estimator: str | Estimator = "backprop",
    optimizer: Any = None,
    fields: Sequence[str] | None = None,
    clamp: float | None = None,
    l2: float = 0.0,
    validation: int = 256,
    rollback: float | None = None,
    reports: int = 50,
    seed: int = 0,
    dtype: str = "float32",
    checkpoint: str | Path | None = None,
    store: Where = None,
    progress: Progress = lambda step, row: None,
) -> Training:
    """Train the leaves of `rule` on problems of `task`, or of several in turn.

    The meta-loss of a run is the mean of the losses its steps saw over the first of them, averaged over the problems,
    plus `l2` · ‖θ‖² (Maheswaranathan et al., 2021, appendix C). The leaves that did best on held-out problems are kept.

    Args:
        rule: a learned rule, or any: Adam's learning rate is a leaf too.
        steps: outer steps.
        unroll: inner steps a run; or the least and the most, log-uniform in between.
        estimator: of the meta-gradient: "backprop", "es", "truncated-es", "pes", or one with settings of its own.
            `Imitation(teacher)` has the distance from another rule's steps in the place of the meta-loss.
        optimizer: the outer one, a rule or an optax transformation; by default Adam at 3e-3, falling by 0.55 every
            fifth of the steps, each entry of the estimate clipped to ±0.05.
        fields: which fields of the rule to train; by default a learned rule's weights, or every hyperparameter but
            those at an end of their search space where nothing could move them, such as a weight decay of 0.
        clamp: above how many times the first loss a loss is no worse.
        validation: held-out problems of each task.
        rollback: a validation more than so many times the best takes the training back to where that was found.
        reports: how many rows the history gets. With each, the checkpoint is written.
        checkpoint: a file to write to, and to go on from where it is there: the result is the same to the bit.
        store: the store, or its path, that keeps the history too.
        progress: told of every step.

    Raises:
        BadInput: an argument is invalid, the loss is not a differentiable scalar, the checkpoint another training's,
            or the store cannot be used.
    """
    tasks = [task] if isinstance(task, Task) else list(task)
    chosen = estimator_of(estimator)
    low, high = _lengths(unroll)
    _check(rule, tasks, steps=steps, validation=validation, reports=reports)
    if rollback is not None and not rollback > 1:
        raise BadInput(f"rollback is a factor above 1, such as 2, not {rollback!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput(f"seed must be a whole number ≥ 0, not {seed!r}")
    if clamp is not None and not 0 < clamp < math.inf:
        raise BadInput(f"clamp must be a finite number > 0, not {clamp!r}")
    if not 0 <= l2 < math.inf:
        raise BadInput(f"l2 must be a finite number ≥ 0, not {l2!r}")
    if dtype not in DTYPES:
        raise BadInput(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if optimizer is None:
        optimizer = Scheduled(ClipByValue(Adam(), 0.05), lr=Exponential(3e-3, 0.55, max(1, steps // 5)))
    with jax.enable_x64(dtype == "float64"):
        tasks = [cast(each, dtype) for each in tasks]
        found = leaves(cast(rule, dtype), fields)
        for each in tasks:
            _differentiable(found.rule, each)
        asked = (
            rule, tasks, repr(chosen), low, high, repr(clamp), l2, validation, repr(rollback), seed, steps, reports,
            found.fields,
        )  # fmt: skip
        mark = checkpoints.fingerprint(asked, optimizer if isinstance(optimizer, Rule) else "optax")
        place = None if checkpoint is None else checkpoints.place(checkpoint)
        make = partial(Programs, found, tasks, chosen, as_optimizer(optimizer), low, high, clamp, l2, validation, seed)
        # Functions and classes of one name may be different ones, which the mark does not see.
        same = mark, jax.tree.structure((found.rule, tasks, optimizer)), type(chosen)
        programs = _compiled(same, make) if isinstance(optimizer, Rule) else make()
        facts = {
            "rule": rule.name, "tasks": [each.name for each in tasks], "steps": steps, "unroll": [low, high],
            "estimator": repr(chosen), "seed": seed, "dtype": dtype,
        }  # fmt: skip
        with opened(store) as kept:
            log = partial(kept.log, mark, facts, environment()) if kept and jax.process_index() == 0 else None
            given = Leaves(rule, found.fields)
            interval = max(1, steps // reports)
            return _loop(given, programs, steps, interval, rollback, place, mark, log, progress)


def _compiled(same: Any, make: Callable[[], Programs]) -> Programs:
    """The programs of a training, which the same training, resumed or asked for again, need not compile anew."""
    if same not in _kept:
        _kept[same] = make()
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    return _kept[same]


class _At(NamedTuple):
    """Where a training is."""

    outer: Outer
    best: Outer
    """The state of the best validation."""
    done: int
    history: tuple[dict[str, Any], ...]

    @property
    def stuck(self) -> bool:
        """Whether no outer step was taken since the report before the last."""
        return bool(self.history) and self.history[-1]["loss"] is None


def _loop(
    given: Leaves,
    programs: Programs,
    steps: int,
    interval: int,
    rollback: float | None,
    place: Path | None,
    mark: str,
    log: Callable[[list[dict[str, Any]]], None] | None,
    progress: Progress,
) -> Training:
    begun = programs.begin()
    at = _At(begun, begun, 0, ())
    clock = time.perf_counter()
    if place is not None and place.exists():
        (outer, best), told = checkpoints.read(place, (begun, begun), mark)
        at = _At(outer, best, told["step"], tuple(told["history"]))
        clock -= told["seconds"]

    def keep() -> None:
        if place is not None:
            told = {"mark": mark, "step": at.done, "history": at.history, "seconds": time.perf_counter() - clock}
            checkpoints.write(place, (at.outer, at.best), told)
        if log is not None:
            log(list(at.history))

    try:
        while at.done < steps and not at.stuck:
            outer, best, history, row = programs.step(at.outer, at.done), at.best, at.history, None
            done, rejected = at.done + 1, int(outer.rejected)
            if done % interval == 0 or done == steps:
                taken = done - (history[-1]["step"] if history else 0) - rejected
                validation, diverged = programs.validate(outer.theta)
                row = {
                    "step": done,
                    "loss": float(outer.loss) / taken if taken else None,
                    "validation": validation,
                    "diverged": diverged,
                    "rejected": rejected,
                    "back_to": None,
                    "seconds": time.perf_counter() - clock,
                }
                history = (*history, row)
                outer = outer._replace(loss=jnp.zeros_like(outer.loss), rejected=jnp.zeros_like(outer.rejected))
                found = min(history, key=_order)
                if found is row:
                    best = outer
                elif rollback is not None and _order(row) > (found["diverged"], rollback * _order(found)[1]):
                    outer, row["back_to"] = best, found["step"]
            # At once: an interruption leaves the training before this step, or after it.
            at = _At(outer, best, done, history)
            if row is not None:
                keep()
            progress(done, row)
    except KeyboardInterrupt:
        keep()
        raise
    ended = f"all {steps} outer steps were taken"
    if at.stuck:
        ended = (
            f"stopped after {at.done} of {steps} outer steps: no estimate of the last {at.history[-1]['rejected']} was "
            "finite; the best leaves so far are kept; try evolution strategies, a clamp or a smaller lr"
        )
    made, last = (settled(given.put(theta)) for theta in (at.best.theta, at.outer.theta))
    return Training(made, last, at.history, ended)


def _order(row: dict[str, Any]) -> tuple[float, float]:
    return row["diverged"], math.inf if row["validation"] is None else row["validation"]


def _lengths(unroll: Any) -> tuple[int, int]:
    low, high = unroll if isinstance(unroll, tuple) and len(unroll) == 2 else (unroll, unroll)
    for given in (low, high):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise BadInput(f"unroll must be a whole number of steps ≥ 1, or two of them, not {unroll!r}")
    if low > high:
        raise BadInput(f"unroll goes from the least to the most steps, not {unroll!r}")
    return low, high


def _check(rule: Any, tasks: list[Any], **counts: Any) -> None:
    if not isinstance(rule, Rule):
        raise BadInput(f"a rule is wanted, such as osc.GRU.untrained(units=16), not {rule!r}")
    if not tasks:
        raise BadInput("at least one task is wanted; 'optiscope tasks' lists them")
    for each in tasks:
        if not isinstance(each, Task):
            raise BadInput(f"a task is wanted, such as osc.task('rosenbrock'), not {each!r}")
    for name, given in counts.items():
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise BadInput(f"{name} must be a whole number ≥ 1, not {given!r}")


def _differentiable(rule: Rule, task: Task) -> None:
    """That the loss of a problem is one number with a gradient."""
    problem = jax.eval_shape(lambda: task.sample(jax.random.key(0)).start)

    def loss(params: Any) -> Any:
        return task.sample(jax.random.key(0)).loss(params)

    try:
        made = jax.eval_shape(loss, problem)
        if getattr(made, "shape", None) != ():
            raise BadInput(f"the loss of {task.name} must be one number, and it has the shape {made.shape}")
        jax.eval_shape(jax.grad(loss), problem)
    except (TypeError, jax.errors.JAXTypeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"the loss of {task.name} cannot be differentiated by JAX: {reason}") from None
