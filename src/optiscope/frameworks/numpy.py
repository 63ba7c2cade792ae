"""The NumPy front: a rule driven by a gradient function of your own, with neither JAX nor torch.

for step in iterate(grad, x0, osc.Adam(lr=0.1)):
    if np.linalg.norm(step.grad) < 1e-6:
        break
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule

Params = Any
"""An array, or a list, tuple or dict of such (nested as one likes)."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step: at `x`, where the gradient was `grad`, the rule took `step`. Each has the structure of x0."""

    t: int
    x: Params
    grad: Params
    step: Params
    state: Params
    """The rule's state after the step: x0's structure with a dict of arrays in place of each array."""

    @property
    def x_next(self) -> Params:
        """Where the step leads."""
        return _map(np.add, self.x, self.step)


@dataclasses.dataclass(frozen=True)
class Result:
    """Where `minimize` ended."""

    x: Params
    value: float | None
    """fun(x), or None where no fun was given."""
    values: np.ndarray
    """fun before every step and at the end, shape (steps + 1,); empty where no fun was given."""
    steps: int
    """The number of steps taken."""


def iterate(grad: Callable[[Params], Params], x0: Params, rule: Rule) -> Iterator[Step]:
    """The steps of `rule` from `x0`, one at a time, without end: leave the loop when you have seen enough.

    Args:
        grad: the gradient at a point, with x0's structure and shapes. It may be stochastic.
        x0: a floating array, or a list, tuple or dict of such; it is not written to.
        rule: any rule.

    Raises:
        BadInput: `rule` is none, x0 is not floating, or grad returns another structure, shape or kind of number.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"iterate takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")
    x = _map(_floating, x0)
    state = _map(lambda p: rule.init(p, np), x)
    t = 0
    while True:
        t += 1
        g = _like(grad(x), x)
        moved = _map(lambda g, s, p, t=t: _update(rule, g, s, p, t), g, state, x)
        state = _map(lambda _, pair: pair[1], x, moved)
        done = Step(t, x, g, _map(lambda _, pair: pair[0], x, moved), state)
        yield done
        x = done.x_next


def minimize(
    fun: Callable[[Params], float] | None,
    grad: Callable[[Params], Params],
    x0: Params,
    rule: Rule,
    steps: int,
    callback: Callable[[Step], bool | None] | None = None,
) -> Result:
    """Take `steps` steps of `rule` from `x0`.

    Args:
        fun: the function, recorded before every step and at the end; None where only the end point matters.
        grad, x0, rule: as in `iterate`.
        steps: how many steps to take, at least 0.
        callback: called with every step; the run ends after a step for which it returns True.

    Raises:
        BadInput: as in `iterate`, or a negative number of steps.
    """
    if steps < 0:
        raise BadInput(f"steps must be at least 0, not {steps}")
    x, values, taken = _map(_floating, x0), [], 0
    walk = iterate(grad, x, rule)
    while taken < steps:
        if fun is not None:
            values.append(float(fun(x)))
        step = next(walk)
        x, taken = step.x_next, step.t
        if callback is not None and callback(step):
            break
    value = None if fun is None else float(fun(x))
    return Result(x, value, np.array(values if value is None else [*values, value]), taken)


def _update(rule: Rule, g: np.ndarray, state: dict, p: np.ndarray, t: int) -> tuple[np.ndarray, dict]:
    step, new = rule.update(g, state, p, t, np)
    # A NumPy scalar such as np.float64(0.1) is not weak: the arrays keep the dtype they began with.
    return np.asarray(step, p.dtype), {k: np.asarray(v, state[k].dtype) for k, v in new.items()}


def _floating(x: Any) -> np.ndarray:
    x = np.array(x)  # a copy: no later write to x0 reaches a Step or a Result, nor the other way round
    if not np.issubdtype(x.dtype, np.floating):
        raise BadInput(f"x0 must hold floating numbers, not {x.dtype}; write x0.astype(float)")
    return x


def _like(g: Params, x: Params) -> Params:
    """g as arrays of x's dtypes, given that it has x's structure and shapes."""
    if isinstance(x, dict) and isinstance(g, dict) and g.keys() == x.keys():
        return {k: _like(g[k], v) for k, v in x.items()}
    if isinstance(x, list | tuple) and isinstance(g, list | tuple) and len(g) == len(x):
        like = [_like(*pair) for pair in zip(g, x, strict=True)]
        return type(x)(*like) if hasattr(x, "_fields") else type(x)(like)
    if isinstance(x, dict | list | tuple) or isinstance(g, dict):
        raise BadInput(f"grad returned {_outline(g)} where x0 has {_outline(x)}; it must return x0's structure")
    g = np.asarray(g)
    if g.shape != x.shape:
        raise BadInput(f"grad returned shape {g.shape} for a parameter of shape {x.shape}")
    if not np.can_cast(g.dtype, x.dtype, "same_kind"):
        raise BadInput(f"grad returned {g.dtype} numbers for a parameter of {x.dtype}")
    return g.astype(x.dtype, copy=False)


def _outline(p: Params) -> str:
    if isinstance(p, dict):
        return f"a dict of {', '.join(map(str, p)) or 'nothing'}"
    return f"a {type(p).__name__} of {len(p)}" if isinstance(p, list | tuple) else f"an array of shape {np.shape(p)}"


def _map(f: Callable, first: Params, *rest: Params) -> Params:
    """Apply f to the arrays of a structure, and to what the others hold in their places."""
    if isinstance(first, dict):
        return {k: _map(f, v, *(r[k] for r in rest)) for k, v in first.items()}
    if isinstance(first, list | tuple):
        made = [_map(f, *each) for each in zip(first, *rest, strict=True)]
        return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)
    return f(first, *rest)
