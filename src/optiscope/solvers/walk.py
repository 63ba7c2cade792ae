"""What all solvers have in common while they run: the record of what was called and what was seen, and the loop.

A solver is a machine with one place where the function is called: a step makes one trial and judges it. A line search
    is
then no inner loop but a state, so that under `vmap` a lane that searches does not hold the lanes that do not, and the
function is traced, and compiled, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .solution import RUNNING, Evaluations, History


class Budget(NamedTuple):
    """When to stop."""

    tol: Any
    max_iterations: Any


class Walk(NamedTuple):
    """The part of a solver's state that every solver has."""

    status: Any
    iterations: Any
    evaluations: Evaluations
    history: History | None

    def called(self, function: Any = 0, gradient: Any = 0, hvp: Any = 0, jacobian: Any = 0) -> Walk:
        more = Evaluations(function, gradient, hvp, jacobian)
        return self._replace(evaluations=jax.tree.map(lambda a, b: a + jnp.asarray(b, a.dtype), self.evaluations, more))

    def saw(self, when: Any, **row: Any) -> Walk:
        """Write a row of the history, if there is one, where `when` holds."""
        if self.history is None:
            return self

        def write(column: Any, number: Any) -> Any:
            return column.at[self.iterations].set(jnp.where(when, number, column[self.iterations]))

        return self._replace(
            history=self.history._replace(**{k: write(getattr(self.history, k), v) for k, v in row.items()})
        )


def fresh(dtype: Any, rows: int | None) -> Walk:
    """The walk before its first step, with room for a history of `rows` rows, or with none."""
    zero = jnp.int32(0)
    history = None if rows is None else History(*(jnp.full(rows, jnp.nan, dtype) for _ in History._fields))
    return Walk(jnp.int32(RUNNING), zero, Evaluations(zero, zero, zero, zero), history)


class Ended(NamedTuple):
    """The end of a walk, for x of shape (n,)."""

    walk: Walk
    x: Any
    value: Any
    gradient: Any
    gradient_norm: Any
    covariance: Any = None


class Method(ABC):
    """A solver's algorithm: a frozen dataclass of its settings. Its state is a NamedTuple with the field `walk`."""

    @abstractmethod
    def begin(self, oracle: Any, x: Any, rows: int | None) -> Any:
        """The state before the first call of the function."""

    @abstractmethod
    def step(self, oracle: Any, budget: Budget, state: Any) -> Any:
        """One trial and its judgement."""

    @abstractmethod
    def finish(self, oracle: Any, state: Any) -> Ended:
        """What a state that stopped amounts to."""

    def run(self, oracle: Any, budget: Budget, state: Any) -> Any:
        """Step until the status says that it is over."""
        return jax.lax.while_loop(lambda s: s.walk.status == RUNNING, lambda s: self.step(oracle, budget, s), state)


def first_of(*rules: tuple[Any, int]) -> Any:
    """The status of the first rule whose condition holds; RUNNING where none does."""
    status = jnp.int32(RUNNING)
    for condition, code in reversed(rules):
        status = jnp.where(condition, jnp.int32(code), status)
    return status


def eps(x: Any) -> float:
    """The machine epsilon of an array's precision."""
    return float(np.finfo(x.dtype).eps)
