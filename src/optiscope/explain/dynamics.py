"""A rule on one coordinate, as maps of vectors: h' = F(h, g), step = S(h, g), in float64.

The step that a rule takes on a state h is S(h, g) = R(F(h, g), g); S is what an optimizer's `update` returns, and all
that can be said about R is said with it. The state, a dict of arrays, is laid out as one vector h, and the number of
the step t and the parameter θ stand beside it as inputs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput
from ..lab.drive import cast
from ..rules.contract import Rule

ROWS, JACOBIANS = 256, 32
"""How many points a call of the compiled maps, and of their derivatives, takes: any number then needs two programs."""

WATCHED = 40
"""For how many steps the parts of a state are watched before they are told apart."""


class Linear(NamedTuple):
    """The first derivatives at n points: of F, (n, d, d) and (n, d); of S, (n, d), (n,) and, in θ, (n,)."""

    F_h: np.ndarray
    F_g: np.ndarray
    S_h: np.ndarray
    S_g: np.ndarray
    S_theta: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Dynamics:
    """A rule as the maps F and S."""

    rule: Rule
    names: tuple[str, ...]
    """What each of the d numbers of the state is, such as "v" or "h0[3]"."""

    @property
    def size(self) -> int:
        """d, how many numbers the state of one coordinate has."""
        return len(self.names)

    @functools.cached_property
    def initial(self) -> np.ndarray:
        """h₀, shape (d,)."""
        with jax.enable_x64(True):
            return np.asarray(_packed(self.rule.init(jnp.zeros(1), jnp)))

    def move(self, h: Any, g: Any, t: Any = 1, theta: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """F(h, g) and S(h, g) at n points: (n, d) and (n,). Each argument may be given once for all."""
        new, step = self._in_rows(_moved, ROWS, h, g, t, theta)
        return new, step

    def linear(self, h: Any, g: Any, t: Any = 1, theta: Any = 0.0) -> Linear:
        """The derivatives at n points, as exact as the maps themselves."""
        return Linear(*self._in_rows(_linear, JACOBIANS, h, g, t, theta))

    def follow(self, h: Any, grads: np.ndarray, t: int = 1, advance: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The states (n, k + 1, d) and steps (n, k) along n sequences of k gradients, (n, k), from `h`.

        Args:
            t: the number of the first step.
            advance: whether t counts on, or stays.
        """
        states = [np.broadcast_to(h, (len(grads), self.size))]
        steps = []
        for k, g in enumerate(grads.T):
            state, step = self.move(states[-1], g, t + k * advance)
            states.append(state)
            steps.append(step)
        return np.stack(states, 1), np.stack(steps, 1)

    def _in_rows(self, function: Callable, rows: int, h: Any, g: Any, t: Any, theta: Any) -> tuple[np.ndarray, ...]:
        n = max(len(np.atleast_2d(h)), *(np.size(x) for x in (g, t, theta)))
        given = [np.broadcast_to(h, (n, self.size)).astype(float)]
        given += [np.broadcast_to(x, n).astype(kind) for x, kind in ((g, float), (t, np.int32), (theta, float))]
        pieces = []
        with jax.enable_x64(True):
            for i in range(0, n, rows):
                chunk = [x[np.minimum(np.arange(i, i + rows), n - 1)] for x in given]
                pieces.append(jax.device_get(function(self.rule, *chunk)))
        return tuple(np.concatenate(parts)[:n] for parts in zip(*pieces, strict=True))


def dynamics(rule: Rule) -> Dynamics:
    """The maps of a rule.

    Raises:
        BadInput: it is no rule, or cannot run on an array of one number.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"a rule is wanted, such as osc.Adam(lr=1e-3), not {rule!r}")
    try:
        with jax.enable_x64(True):
            rule = cast(rule, "float64")
            state = jax.eval_shape(lambda: rule.init(jnp.zeros(1), jnp))
            jax.eval_shape(lambda: rule.update(jnp.zeros(1), rule.init(jnp.zeros(1), jnp), jnp.zeros(1), 1, jnp))
    except (TypeError, ValueError, IndexError) as error:
        raise BadInput(
            f"explain follows one coordinate, and {rule.name} does not run on an array of one number: {error}"
        ) from error
    return Dynamics(rule, tuple(name for key in sorted(state) for name in _names(key, state[key])))


def _names(key: str, entry: Any) -> list[str]:
    count = math.prod(entry.shape)
    return [key] if count == 1 else [f"{key}[{i}]" for i in range(count)]


def _packed(state: dict[str, Any]) -> Any:
    flat = [jnp.ravel(state[key]).astype(float) for key in sorted(state)]
    return jnp.concatenate(flat) if flat else jnp.zeros(0)


def _unpacked(h: Any, like: dict[str, Any]) -> dict[str, Any]:
    state, i = {}, 0
    for key in sorted(like):
        count = math.prod(like[key].shape)
        state[key] = h[i : i + count].reshape(like[key].shape).astype(like[key].dtype)
        i += count
    return state


def _one(rule: Rule, h: Any, g: Any, t: Any, theta: Any) -> tuple[Any, Any]:
    param = theta[None]
    step, state = rule.update(g[None], _unpacked(h, rule.init(param, jnp)), param, t, jnp)
    return _packed(state), step[0].astype(float)


@jax.jit
def _moved(rule: Rule, h: Any, g: Any, t: Any, theta: Any) -> tuple[Any, Any]:
    return jax.vmap(_one, in_axes=(None, 0, 0, 0, 0))(rule, h, g, t, theta)


@jax.jit
def _linear(rule: Rule, h: Any, g: Any, t: Any, theta: Any) -> tuple[Any, ...]:
    def one(h: Any, g: Any, t: Any, theta: Any) -> tuple[Any, ...]:
        (F_h, F_g, _), (S_h, S_g, S_theta) = jax.jacfwd(_one, (1, 2, 4))(rule, h, g, t, theta)
        return F_h, F_g, S_h, S_g, S_theta

    return jax.vmap(one)(h, g, t, theta)


class Parts(NamedTuple):
    """The numbers of a state told apart by what moves them; each a mask of shape (d,)."""

    clocks: np.ndarray
    """Moved by time alone: counters, products of decay rates, constants. A parameter of the maps."""
    records: np.ndarray
    """Moved by the gradient's size and blind to its sign: sums and averages of squares, running maxima."""
    free: np.ndarray
    """The rest: what points somewhere."""


def parts(maps: Dynamics, size: float) -> Parts:
    """Tell the numbers of a state apart by watching them, under random gradients of about `size`, and their mirrors."""
    drawn = size * np.random.default_rng(0).standard_normal((4, WATCHED))
    states, _ = maps.follow(maps.initial, np.concatenate([drawn, -drawn]))
    clocks = (np.ptp(states, axis=0) == 0).all(axis=0)
    records = ~clocks & np.isclose(states[:4], states[4:], rtol=1e-12, atol=0).all(axis=(0, 1))
    return Parts(clocks, records, ~clocks & ~records)
