"""Estimators of the meta-gradient: how the meta-loss of a rule changes with its weights θ.

Each works on so many `lanes` at once, one random key a lane, and gives their mean. Between two outer steps it may
remember something of each lane.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput, unknown
from ..lab.engine import answers
from ..rules.contract import Rule
from .inner import Inner, Walk
from .leaves import Theta


class Estimate(NamedTuple):
    """What one lane says, or all in the mean."""

    loss: Any
    gradient: Theta


class Estimator(ABC):
    """The contract."""

    lanes: int
    truncation: int | None = None
    """How many steps a stretch has; None for the whole of a run."""

    def begin(self, inner: Inner, theta: Theta, key: Any, horizon: Any) -> Any:
        """What one lane remembers before the first outer step."""
        return ()

    @abstractmethod
    def estimate(self, inner: Inner, theta: Theta, states: Any, keys: Any, horizons: Any, steps: int) -> Any:
        """The mean `Estimate` of all lanes from `steps` inner steps of each, and what they remember then.

        Args:
            states: what they remember, with an axis of lanes.
            keys: each lane's key for this outer step, as data; shape (lanes, 2).
            horizons: after how many steps a run that begins now is to end; shape (lanes,).
        """


@dataclasses.dataclass(frozen=True)
class Backprop(Estimator):
    """Back-propagation through the whole run, one problem a lane; the steps are computed again on the way back."""

    lanes: int = 64

    def estimate(self, inner: Inner, theta: Theta, states: Any, keys: Any, horizons: Any, steps: int) -> Any:
        def loss(theta: Theta) -> Any:
            return jnp.mean(jax.vmap(lambda key: inner.unrolled(theta, key, steps))(keys))

        return Estimate(*jax.value_and_grad(loss)(theta)), states


@dataclasses.dataclass(frozen=True)
class Imitation(Estimator):
    """How far the steps are from another rule's, on the gradients which that one meets; one problem a lane.

        loss = Σ (step − its step)² / Σ (its step)²        of `coordinates` of the problem's, drawn at random

    What a search would take long to find, such as to divide by the size of past gradients, is learned in a minute: a
    start for another estimator, which goes on from there (Chen et al., 2020, "Training stronger baselines for learning
    to optimize", section 3.2). The rule has to be elementwise.
    """

    teacher: Rule
    lanes: int = 2
    coordinates: int = 256

    def estimate(self, inner: Inner, theta: Theta, states: Any, keys: Any, horizons: Any, steps: int) -> Any:
        if not inner.leaves.rule.elementwise:
            raise BadInput(
                f"{inner.leaves.rule.name} looks across arrays; only an elementwise rule can imitate another"
            )

        def lane(key: Any) -> Any:
            grads, moves = inner.shown(self.teacher, key, steps)
            some = jax.random.randint(jax.random.wrap_key_data(key), (self.coordinates,), 0, grads.shape[1])
            return grads[:, some], moves[:, some]

        grads, moves = (jnp.concatenate(x, 1) for x in jax.lax.map(lane, keys))

        def loss(theta: Theta) -> Any:
            return jnp.mean((answers(inner.leaves.put(theta), grads) - moves) ** 2) / jnp.mean(moves**2)

        return Estimate(*jax.value_and_grad(loss)(theta)), states


class EvolutionStrategies(Estimator):
    """Estimators whose lanes each have perturbed weights of their own."""

    sigma: float

    def estimate(self, inner: Inner, theta: Theta, states: Any, keys: Any, horizons: Any, steps: int) -> Any:
        def lane(state: Any, key: Any, horizon: Any) -> tuple[Estimate, Any]:
            return self.lane(inner, theta, state, key, horizon, steps)

        made, states = jax.vmap(lane)(states, keys, horizons)
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), made), states

    @abstractmethod
    def lane(self, inner: Inner, theta: Theta, state: Any, key: Any, horizon: Any, steps: int) -> tuple[Estimate, Any]:
        """One lane's estimate, and what it remembers then."""


@dataclasses.dataclass(frozen=True)
class FullES(EvolutionStrategies):
    """Antithetic evolution strategies over the whole run (Salimans et al., 2017), a pair of perturbations a lane.

        ε ~ N(0, σ² I)        gradient = (L(θ + ε) − L(θ − ε)) ε / 2σ²

    Both of a pair meet the same `problems` problems.
    """

    lanes: int = 64
    problems: int = 4
    sigma: float = 0.01

    def lane(self, inner: Inner, theta: Theta, state: Any, key: Any, horizon: Any, steps: int) -> tuple[Estimate, Any]:
        noise, *keys = _split(key, 1 + self.problems)
        epsilon = _normal(theta, noise, self.sigma)

        def loss(theta: Theta) -> Any:
            return jnp.mean(jax.vmap(lambda key: inner.unrolled(theta, key, steps))(jnp.stack(keys)))

        return _antithetic(loss(_plus(theta, epsilon)), loss(_minus(theta, epsilon)), epsilon, self.sigma), state


class Stretch(NamedTuple):
    """A lane of truncated evolution strategies."""

    walk: Walk
    end: Any
    """After how many steps the run makes way for a new one."""


@dataclasses.dataclass(frozen=True)
class TruncatedES(EvolutionStrategies):
    """Antithetic evolution strategies over stretches of a run: cheap, and biased towards what pays at once.

    Both of a pair begin where the unperturbed rule has come to.
    """

    lanes: int = 64
    sigma: float = 0.01
    truncation: int = 20

    def begin(self, inner: Inner, theta: Theta, key: Any, horizon: Any) -> Stretch:
        return Stretch(inner.begin(theta, key), horizon)

    def lane(self, inner: Inner, theta: Theta, state: Any, key: Any, horizon: Any, steps: int) -> tuple[Estimate, Any]:
        noise, fresh = _split(key, 2)
        epsilon = _normal(theta, noise, self.sigma)
        perturbed = _plus(theta, epsilon), _minus(theta, epsilon), theta
        plus, minus, mean = (inner.carry_on(x, state.walk, steps) for x in perturbed)
        new = Stretch(inner.begin(theta, fresh), horizon)
        state = _where(mean[0].age >= state.end, new, Stretch(mean[0], state.end))
        return _antithetic(inner.score(plus[1]), inner.score(minus[1]), epsilon, self.sigma), state


class Pair(NamedTuple):
    """A lane of persistent evolution strategies."""

    plus: Walk
    minus: Walk
    sum: Theta
    """The perturbations that the run has met so far."""
    end: Any
    """After how many steps the run makes way for a new one."""


@dataclasses.dataclass(frozen=True)
class PES(EvolutionStrategies):
    """Persistent evolution strategies (Vicol, Metz & Sohl-Dickstein, 2021, Algorithm 2): stretches without the bias.

    Each of a pair goes on from where it has come to itself, and its loss is credited to all perturbations that it met:

        ξ ← ξ + ε        gradient = (L⁺ − L⁻) ξ / 2σ²
    """

    lanes: int = 64
    sigma: float = 0.01
    truncation: int = 20

    def begin(self, inner: Inner, theta: Theta, key: Any, horizon: Any) -> Pair:
        walk = inner.begin(theta, key)
        return Pair(walk, walk, jax.tree.map(jnp.zeros_like, theta), horizon)

    def lane(self, inner: Inner, theta: Theta, state: Any, key: Any, horizon: Any, steps: int) -> tuple[Estimate, Any]:
        noise, fresh = _split(key, 2)
        epsilon = _normal(theta, noise, self.sigma)
        met = _plus(state.sum, epsilon)
        plus, losses_plus = inner.carry_on(_plus(theta, epsilon), state.plus, steps)
        minus, losses_minus = inner.carry_on(_minus(theta, epsilon), state.minus, steps)
        made = _antithetic(inner.score(losses_plus), inner.score(losses_minus), met, self.sigma)
        new = self.begin(inner, theta, fresh, horizon)
        return made, _where(plus.age >= state.end, new, Pair(plus, minus, met, state.end))


ESTIMATORS: dict[str, type[Estimator]] = {
    "backprop": Backprop,
    "es": FullES,
    "truncated-es": TruncatedES,
    "pes": PES,
}


def estimator(what: str | Estimator) -> Estimator:
    """An estimator, or the one of a name with its default settings.

    Raises:
        BadInput: no estimator has the name, or a setting makes no sense.
    """
    if isinstance(what, str):
        if what.lower() not in ESTIMATORS:
            raise unknown("estimator", what, ESTIMATORS, f"the four: {', '.join(ESTIMATORS)}")
        return ESTIMATORS[what.lower()]()
    if not isinstance(what, Estimator):
        raise BadInput(f"an estimator is wanted, such as 'pes' or PES(sigma=0.01), not {what!r}")
    if isinstance(what, Imitation) and not isinstance(what.teacher, Rule):
        raise BadInput(f"Imitation: teacher must be a rule, such as osc.Adam(), not {what.teacher!r}")
    for name in ("lanes", "problems", "truncation", "coordinates"):
        given = getattr(what, name, None)
        if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
            raise BadInput(f"{type(what).__name__}: {name} must be a whole number ≥ 1, not {given!r}")
    sigma = getattr(what, "sigma", 1.0)
    if not (isinstance(sigma, int | float) and 0 < sigma < float("inf")):
        raise BadInput(f"{type(what).__name__}: sigma must be a finite number > 0, not {sigma!r}")
    return what


def _antithetic(plus: Any, minus: Any, epsilon: Theta, sigma: float) -> Estimate:
    slope = (plus - minus) / (2 * sigma**2)
    return Estimate((plus + minus) / 2, jax.tree.map(lambda e: slope * e, epsilon))


def _normal(theta: Theta, key: Any, sigma: float) -> Theta:
    leaves, tree = jax.tree.flatten(theta)
    keys = jax.random.split(jax.random.wrap_key_data(key), len(leaves))
    draws = [sigma * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, draws)


def _split(key: Any, n: int) -> Any:
    return jax.random.key_data(jax.random.split(jax.random.wrap_key_data(key), n))


def _plus(theta: Theta, epsilon: Theta) -> Theta:
    return jax.tree.map(jnp.add, theta, epsilon)


def _minus(theta: Theta, epsilon: Theta) -> Theta:
    return jax.tree.map(jnp.subtract, theta, epsilon)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
