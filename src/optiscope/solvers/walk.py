"""What all solvers have in common while they run: the record of what was called and what was seen, and the loop.

A solver is a machine with one place where the function is called: a step makes one trial and judges it. A line search
is then no inner loop but a state, so that under `vmap` a lane that searches does not hold the lanes that do not, and
the function is traced, and compiled, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .solution import RUNNING, Evaluations, History


class Budget(NamedTuple):
    """When to stop."""

    tol: Any
    max_iterations: Any
    max_cost: Any

    def spent(self, walk: Walk) -> Any:
        return (walk.iterations >= self.max_iterations) | (walk.cost >= self.max_cost)


class Keep(NamedTuple):
    """What a history is to hold."""

    rows: int
    path: bool
    """Whether it holds x too."""


class Walk(NamedTuple):
    """The part of a solver's state that every solver has."""

    status: Any
    iterations: Any
    counts: Any
    """How often each of `Evaluations` was called, and what that cost; int32, (5,)."""
    history: History | None

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(*self.counts[:-1])

    @property
    def cost(self) -> Any:
        return self.counts[-1]

    def called(self, cost: Any, function: Any = 0, gradient: Any = 0, hvp: Any = 0, jacobian: Any = 0) -> Walk:
        """Count calls, which cost as many gradients as `Solution.cost` says."""
        more = jnp.stack([jnp.asarray(k, jnp.int32) for k in (function, gradient, hvp, jacobian, cost)])
        return self._replace(counts=self.counts + more)

    def saw(self, when: Any, x: Any, **row: Any) -> Walk:
        """Write a row of the history, if there is one, where `when` holds."""
        if self.history is None:
            return self
        row |= {"cost": self.cost} | ({} if self.history.x is None else {"x": x})

        def write(column: Any, entry: Any) -> Any:
            return column.at[self.iterations].set(jnp.where(when, entry, column[self.iterations]))

        return self._replace(
            history=self.history._replace(**{k: write(getattr(self.history, k), v) for k, v in row.items()})
        )


def fresh(x: Any, keep: Keep | None) -> Walk:
    """The walk before its first step, with room for the history that is to be kept."""
    history = None
    if keep is not None:
        columns: dict[str, Any] = {name: jnp.full(keep.rows, jnp.nan, x.dtype) for name in History._fields}
        columns["x"] = jnp.full((keep.rows, x.size), jnp.nan, x.dtype) if keep.path else None
        history = History(**columns)
    return Walk(jnp.int32(RUNNING), jnp.int32(0), jnp.zeros(5, jnp.int32), history)


class Ended(NamedTuple):
    """The end of a walk, for x of shape (n,)."""

    walk: Walk
    x: Any
    value: Any
    gradient: Any
    gradient_norm: Any
    covariance: Any = None
    inverse_hessian: Any = None
    doubtful: Any = False
    """Whether the status is still to be examined."""


class Method(ABC):
    """A solver's algorithm: a frozen dataclass of its settings. Its state is a NamedTuple with the field `walk`."""

    @abstractmethod
    def begin(self, oracle: Any, x: Any, keep: Keep | None) -> Any:
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


def packing(state: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What joins a state's scalars and counts to a vector for each type, and what takes them apart again.

    XLA makes room for every array of a loop, and copies it, by itself, which for so little takes longer than a small
    problem's arithmetic.
    """
    leaves, structure = jax.tree.flatten(state)
    kinds = [str(leaf.dtype) if leaf.ndim == 0 or leaf.dtype == jnp.int32 else "" for leaf in leaves]

    def groups(state: Any) -> dict[str, list[Any]]:
        leaves = list(zip(kinds, jax.tree.leaves(state), strict=True))
        return {kind: [leaf for k, leaf in leaves if k == kind] for kind in dict.fromkeys(kinds)}

    unravel = {kind: ravel_pytree(group)[1] for kind, group in groups(state).items() if kind} | {"": list}

    def pack(state: Any) -> dict[str, Any]:
        return {kind: ravel_pytree(group)[0] if kind else group for kind, group in groups(state).items()}

    def unpack(packed: dict[str, Any]) -> Any:
        left = {kind: iter(unravel[kind](group)) for kind, group in packed.items()}
        return jax.tree.unflatten(structure, [next(left[kind]) for kind in kinds])

    return pack, unpack


def first_of(*rules: tuple[Any, int]) -> Any:
    """The status of the first rule whose condition holds; RUNNING where none does."""
    status = jnp.int32(RUNNING)
    for condition, code in reversed(rules):
        status = jnp.where(condition, jnp.int32(code), status)
    return status


def eps(x: Any) -> float:
    """The machine epsilon of an array's precision."""
    return float(np.finfo(x.dtype).eps)


def or_one(x: Any) -> Any:
    """x, and 1 where x is 0: a divisor."""
    return jnp.where(x == 0, 1, x)
