"""The race: rules on a real task, told while it is run."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import tasks
from ...lab.drive import cast
from ...lab.engine import advance, begin, draw_batches, draw_problem, draw_starts
from ...rules.contract import Rule
from ...tasks.contract import Task
from . import asks

RACES = {"airfoil": 10, "two-moons": 64, "digits": 64}
"""The tasks, with the rows in a batch."""
RULES, SEEDS, STEPS = 6, 16, 1000
CHUNK = 10
"""Steps between two lines."""
MAP = 40
"""The decision boundary is drawn from so many points along each side."""
BOX = ((-1.6, 2.6), (-1.1, 1.6))
"""The part of the plane that the two moons lie in: x from, to; y from, to."""


def race(facts: asks.Facts) -> Iterator[dict[str, Any]]:
    """Run {task, rules, seeds, steps} and yield a line every CHUNK steps.

    A line has "k", the steps taken, "mean" and "error", the loss of each rule over the seeds with its standard error
    (NaN once a seed has diverged), and now and then "maps", on two moons: the probability of the lower moon, for each
    rule, over MAP × MAP points of the plane, in percent, the first seed's network. The first line has the "rows" of
    its data.

    Raises:
        BadInput: the request is malformed, at once.
    """
    name = asks.choice(facts, "task", tuple(RACES))
    runners = [asks.rule(entry) for entry in asks.listed(facts, "rules", RULES)]
    seeds, steps = asks.whole(facts, "seeds", 1, SEEDS), asks.whole(facts, "steps", CHUNK, STEPS)
    return _run(name, runners, seeds, steps)


def _run(name: str, runners: list[Rule], seeds: int, steps: int) -> Iterator[dict[str, Any]]:
    # The streaming server may take each line in another thread, where the precision has to be set anew.
    single = functools.partial(jax.enable_x64, False)
    with single():
        task = cast(tasks.task(name, batch=RACES[name]), "float32")
        numbers = np.arange(seeds)
        racing = [cast(rule, "float32") for rule in runners]
        problems, states = _drawn(task, numbers)
        lanes = [_begin(rule, problems) for rule in racing]
        start = np.asarray(_losses(problems))
        first = _moons(problems) if name == "two-moons" else {}
    yield {"k": 0, **_statistics([start] * len(racing)), **first}
    for k in range(0, steps - steps % CHUNK, CHUNK):
        with single():
            states, batches = _draw_batches(task, numbers, states, np.int32(k), count=CHUNK)
            begun = [_advance(rule, problems, lane, batches, k) for rule, lane in zip(racing, lanes, strict=True)]
            lanes = [lane for lane, _ in begun]
            line = {"k": k + CHUNK, **_statistics([np.asarray(losses) for _, losses in begun])}
            if name == "two-moons":
                line["maps"] = [np.asarray(_map(problems.model, _first(lane.params))) for lane in lanes]
        yield line


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


_draw_batches = jax.jit(draw_batches, static_argnames="count")


@jax.jit
def _drawn(task: Task, seeds: Any) -> tuple[Any, Any]:
    """What each seed draws: the engine's problem, whose data are then no part of what each rule compiles, and the state
    its batches are drawn from."""
    _, states = draw_starts(task, seeds)
    return jax.vmap(functools.partial(draw_problem, task))(seeds), states


@jax.jit
def _begin(rule: Rule, problems: Any) -> Any:
    return jax.vmap(begin, (None, 0))(rule, problems.start)


@jax.jit
def _losses(problems: Any) -> Any:
    return jax.vmap(lambda problem: problem.loss(problem.start))(problems)


@jax.jit
def _advance(rule: Rule, problems: Any, lanes: Any, batches: Any, k: Any) -> Any:
    def one(problem: Any, lane: Any, batch: Any) -> Any:
        lane, _ = jax.lax.scan(lambda lane, x: (advance(rule, problem, lane, *x)[0], None), lane, batch)
        return lane, problem.loss(lane.params)

    return jax.vmap(one, (0, 0, (None, 0)))(problems, lanes, (k + jnp.arange(CHUNK), batches))


@jax.jit
def _map(model: Any, params: Any) -> Any:
    x, y = (jnp.linspace(*side, MAP) for side in BOX)
    points = jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return jnp.round(100 * jax.nn.sigmoid(model(params, points)[:, 0])).astype(jnp.int32)


def _moons(problems: Any) -> dict[str, Any]:
    some = np.s_[0, :300]
    rows = np.concatenate([np.asarray(problems.inputs[some]), np.asarray(problems.targets[some])], axis=1)
    return {"rows": np.round(rows, 3), "box": BOX}


def _statistics(losses: list[np.ndarray]) -> dict[str, list[float]]:
    with np.errstate(all="ignore"):
        errors = [loss.std(ddof=1) / len(loss) ** 0.5 if len(loss) > 1 else 0.0 for loss in losses]
        return {"mean": [float(loss.mean()) for loss in losses], "error": [float(error) for error in errors]}
