"""Which leaves of a rule are trained, and in which coordinates.

A learned rule's weights are trained as they are. A hyperparameter is trained in the coordinate in which its search
space is uniform, so that a step of the outer optimizer can never leave the values that have a meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput, unknown
from ..rules.contract import Rule
from ..rules.spaces import LogUniform, OneMinusLogUniform, Space, Uniform

Theta = dict[str, Any]
"""What is trained: by field, arrays or trees of them."""


@dataclasses.dataclass(frozen=True)
class Leaves:
    """The way from a rule to what is trained of it, and back."""

    rule: Rule
    fields: tuple[str, ...]

    def theta(self) -> Theta:
        """The rule's own values, in the coordinates of training."""
        return {name: jax.tree.map(self._to(name), _field(self.rule, name)) for name in self.fields}

    def put(self, theta: Theta) -> Rule:
        """The rule with these."""
        return self.rule.replace(**{name: jax.tree.map(self._from(name), theta[name]) for name in self.fields})

    def _to(self, name: str) -> Callable[[Any], Any]:
        return _coordinates(_space(self.rule, name))[0]

    def _from(self, name: str) -> Callable[[Any], Any]:
        return _coordinates(_space(self.rule, name))[1]


def leaves(rule: Rule, fields: Sequence[str] | None) -> Leaves:
    """The fields to train: those named; by default a learned rule's weights, or else every hyperparameter there is.

    A hyperparameter at the end of its coordinate, as a rate of 0, has nowhere to go: by default it stays.

    Raises:
        BadInput: a field is unknown, absent, static or at such an end.
    """
    there = {name: space for name, space in _all(rule).items() if _field(rule, name) is not None}
    if fields is None:
        weights = [name for name, space in there.items() if space is None]
        fields = weights or [name for name in there if _moves(rule, name)]
    for name in fields:
        if name not in there:
            raise unknown(f"leaf of {rule.name}", name, there, f"'optiscope rules {rule.name}'")
        if there[name] is not None and not _moves(rule, name):
            raise BadInput(f"{rule.name}: {name} cannot be trained from {_field(rule, name)}; begin within its space")
    if not fields:
        raise BadInput(f"{rule.name} has no leaf to train")
    return Leaves(rule, tuple(fields))


def _all(rule: Rule) -> dict[str, Space | None]:
    """Every leaf field of the rule and of those it holds, the outer ones first, with the space it is drawn from."""
    spaces, found = rule.hypers(), {}
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]  # every rule is a dataclass
        held = getattr(rule, field.name)
        if not field.metadata.get("static") and not isinstance(held, Rule) and field.name != "schedules":
            found[field.name] = spaces.get(field.name)
    inner = getattr(rule, "rule", None)
    return {**(_all(inner) if isinstance(inner, Rule) else {}), **found}


def _space(rule: Rule, name: str) -> Space | None:
    return _all(rule)[name]


def _field(rule: Any, name: str) -> Any:
    return getattr(rule, name) if hasattr(rule, name) else _field(rule.rule, name)


def _moves(rule: Rule, name: str) -> bool:
    """Whether a hyperparameter has a finite coordinate."""
    return bool(np.isfinite(_coordinates(_space(rule, name))[0](_field(rule, name))).all())


def _coordinates(space: Space | None) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """A hyperparameter's coordinate, and the way back; both differentiable."""
    match space:
        case OneMinusLogUniform():
            return lambda x: jnp.log1p(-jnp.asarray(x)), lambda u: -jnp.expm1(u)
        case LogUniform():
            return jnp.log, jnp.exp
        case Uniform(low, high):
            return (
                lambda x: jax.scipy.special.logit((jnp.asarray(x) - low) / (high - low)),
                lambda u: low + (high - low) * jax.nn.sigmoid(u),
            )
        case _:
            return jnp.asarray, jnp.asarray


def settled(rule: Rule) -> Rule:
    """A trained rule with its arrays as NumPy's and its numbers as floats, fit to be saved and used in any front."""

    def one(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array if array.ndim else float(array)

    return jax.tree.map(one, rule)
