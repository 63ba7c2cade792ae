"""The state of a training, and what the outer optimizer makes of an estimate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput
from ..lab import engine
from ..rules.contract import Rule
from .estimators import Estimate
from .leaves import Theta


class Outer(NamedTuple):
    """All that a training carries from outer step to outer step."""

    theta: Theta
    optimizer: Any
    """The outer optimizer's state."""
    lanes: tuple[Any, ...]
    """What the estimator remembers, for each task."""
    loss: Any
    """The sum of the meta-losses since the last report, of the steps that were taken."""
    rejected: Any
    """How many steps since then were not taken, because the estimate was not finite."""


class Optimizer(NamedTuple):
    """An outer optimizer, in the two functions that optax has too."""

    init: Any
    update: Any


def as_optimizer(what: Any) -> Optimizer:
    """A rule, or an optax transformation, as the outer optimizer.

    Raises:
        BadInput: it is neither.
    """
    if not isinstance(what, Rule):
        if not (hasattr(what, "init") and hasattr(what, "update")):
            raise BadInput(f"the outer optimizer is a rule, such as osc.Adam(), or optax's, not {what!r}")
        return Optimizer(what.init, what.update)

    def init(theta: Theta) -> Any:
        return jnp.int32(0), [what.init(leaf, jnp) for leaf in jax.tree.leaves(theta)]

    def update(gradient: Theta, state: Any, theta: Theta) -> tuple[Theta, Any]:
        count, slots = state
        steps, slots = engine.update(what, gradient, slots, theta, count + 1)
        return steps, (count + 1, slots)

    return Optimizer(init, update)


def stepped(outer: Outer, which: int, made: Estimate, lanes: Any, optimizer: Optimizer, l2: float) -> Outer:
    """The next state, after an estimate on task `which`. One that is not finite is counted, and θ stays."""
    gradient = jax.tree.map(lambda g, p: g + 2 * l2 * p, made.gradient, outer.theta)
    sound = jnp.isfinite(made.loss) & jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(gradient)]).all()
    gradient = jax.tree.map(lambda g: jnp.where(sound, g, 0), gradient)
    updates, state = optimizer.update(gradient, outer.optimizer, outer.theta)
    moved = jax.tree.map(jnp.add, outer.theta, updates)

    def taken(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, old)

    return Outer(
        taken(moved, outer.theta),
        taken(state, outer.optimizer),
        tuple(lanes if i == which else kept for i, kept in enumerate(outer.lanes)),
        outer.loss + jnp.where(sound, made.loss, 0),
        outer.rejected + ~sound,
    )
