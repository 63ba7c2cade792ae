"""The inner loop: an optimizer at work on a problem, as a system that can be begun, carried on and scored."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..lab.engine import Lane, advance, begin, shown
from ..rules.contract import Rule
from ..tasks.contract import Problem, Task
from .leaves import Leaves, Theta


class Walk(NamedTuple):
    """A run under way."""

    key: Any
    """Which problem, as the data of a JAX random key."""
    lane: Lane
    drawn: Any
    """What the sampler of batches remembers."""
    age: Any
    """Steps taken."""
    first: Any
    """The loss that the first step saw."""


@dataclasses.dataclass(frozen=True)
class Inner:
    """Runs of the rule that θ makes, on problems of a task."""

    leaves: Leaves
    task: Task
    clamp: float | None
    """Above how many times the first loss a loss is no worse; None counts it in full."""

    def begin(self, theta: Theta, key: Any) -> Walk:
        """A run before its first step."""
        problem = self._problem(key)
        drawn = problem.batches.begin(jax.random.fold_in(jax.random.wrap_key_data(key), 1))
        batch, _ = problem.batches.draw(drawn, jnp.int32(0))
        first = problem.loss(problem.start, batch)
        return Walk(key, begin(self.leaves.put(theta), problem.start), drawn, jnp.int32(0), first)

    def carry_on(self, theta: Theta, walk: Walk, steps: int) -> tuple[Walk, Any]:
        """`steps` more steps, and the loss that each saw over the first: shape (steps,)."""
        rule, problem = self.leaves.put(theta), self._problem(walk.key)

        # Backwards through a run only what it carries is kept, and each step is computed again.
        @jax.checkpoint
        def step(carry: tuple[Lane, Any], k: Any) -> tuple[tuple[Lane, Any], Any]:
            lane, drawn = carry
            batch, drawn = problem.batches.draw(drawn, k)
            lane, moment = advance(rule, problem, lane, k, batch)
            return (lane, drawn), moment["seen"] / walk.first

        ages = walk.age + jnp.arange(steps, dtype=jnp.int32)
        (lane, drawn), ratios = jax.lax.scan(step, (walk.lane, walk.drawn), ages)
        return walk._replace(lane=lane, drawn=drawn, age=walk.age + steps), ratios

    def score(self, ratios: Any) -> Any:
        """The meta-loss of a stretch of losses: their mean (Maheswaranathan et al., 2021, appendix C)."""
        if self.clamp is not None:
            ratios = jnp.where(ratios < self.clamp, ratios, self.clamp)  # a loss that is NaN is no better
        return jnp.mean(ratios)

    def unrolled(self, theta: Theta, key: Any, steps: int) -> Any:
        """The meta-loss of a whole run."""
        return self.score(self.carry_on(theta, self.begin(theta, key), steps)[1])

    def shown(self, rule: Rule, key: Any, steps: int) -> tuple[Any, Any]:
        """The gradients that another rule meets in its run, and its steps, of every coordinate: (steps, numbers)."""
        problem = self._problem(key)
        drawn = problem.batches.begin(jax.random.fold_in(jax.random.wrap_key_data(key), 1))
        made = shown(rule, problem, drawn, steps)
        grads, moves = (jax.vmap(lambda tree: ravel_pytree(tree)[0])(trees) for trees in made)
        return grads, moves

    def _problem(self, key: Any) -> Problem:
        return self.task.sample(jax.random.fold_in(jax.random.wrap_key_data(key), 0))
