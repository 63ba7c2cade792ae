"""What the fronts and the lab ask of a rule, tried: for rules of one's own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import BadInput
from .contract import Rule, State
from .wrappers import driven

SHAPES = ((2, 3), (), (0,))
STEPS = 4
NEAR = 1e-9
"""How far two namespaces' steps may lie apart, beside the largest of them."""


def check(rule: Rule) -> None:
    """Try a rule on all that the fronts and the lab ask of one.

    Steps and states keep their shapes; nothing that is given is written to, and nothing but the state is remembered; no
    Python branch hangs on a number; NumPy, JAX and, where it is installed, torch give the same steps; entries do not
    depend on each other where `elementwise` says so; and lr = 0 moves nothing.

    Raises:
        BadInput: `rule` is none, or does not keep one of these: which, and what to do.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"check takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")
    for shape in SHAPES:
        steps = _walked(rule, shape)
        for namespace in ("jax.numpy", "torch"):
            if importlib.util.find_spec(namespace.partition(".")[0]):
                _agree(rule, steps, _walked_in(namespace, rule, shape), namespace)
    if rule.elementwise:
        _check_entries(rule)
    if "lr" in rule.numbers() and "lr" not in driven(rule) and np.any(_walked(rule.replace(lr=0.0), (3,))):
        raise _not_kept(rule, "moves the parameters with lr=0; every term of the step takes a factor lr")


def _drawn(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A parameter, and its gradient at each step."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape), rng.normal(size=(STEPS, *shape))


def _walked(rule: Rule, shape: tuple[int, ...]) -> np.ndarray:
    """The steps in NumPy, each looked at."""
    param, grads = _drawn(shape)
    state = _call(rule, "init", "numpy", lambda: rule.init(param, np))
    if not isinstance(state, dict) or not all(hasattr(x, "shape") and hasattr(x, "dtype") for x in state.values()):
        raise _not_kept(rule, f"has an init that returns {state!r}; return a dict of arrays, as xp.zeros_like(param)")
    for key, x in state.items():
        if x.shape and x.shape[: len(shape)] != shape:
            raise _not_kept(rule, f"begins with a {key!r} of shape {x.shape}; a state has the shape of the parameter, "
                            f"here {shape}, that shape with trailing axes, or none")  # fmt: skip
    steps = []
    for t, grad in enumerate(grads, 1):
        given = {"grad": grad, "param": param, **state}
        before = {name: np.array(x) for name, x in given.items()}
        step, new = _update(rule, grad, state, param, t)
        for name, x in given.items():
            if not np.array_equal(x, before[name], equal_nan=True):
                raise _not_kept(rule, f"writes to the {name} that it is given; make new arrays")
        again, _ = _update(rule, grad, state, param, t)
        if not np.array_equal(step, again, equal_nan=True):
            raise _not_kept(rule, "answers the same call differently; what it remembers must be in the state")
        steps.append(np.asarray(step, param.dtype))
        param, state = param + steps[-1], {key: np.asarray(x, state[key].dtype) for key, x in new.items()}
    return np.stack(steps)


def _update(rule: Rule, grad: np.ndarray, state: State, param: np.ndarray, t: int) -> tuple[Any, State]:
    made = _call(rule, "update", "numpy", lambda: rule.update(grad, state, param, t, np))
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
        raise _not_kept(
            rule, f"has an update that returns {type(made).__name__}; return the step and the state, a dict"
        )
    step, new = made
    if new.keys() != state.keys():
        raise _not_kept(rule, f"returns a state of {sorted(new)} where init made {sorted(state)}")
    for what, x, like in [("step", step, param), *((f"state {key!r}", new[key], state[key]) for key in state)]:
        if np.shape(x) != like.shape:
            raise _not_kept(rule, f"returns a {what} of shape {np.shape(x)} where {like.shape} is wanted")
    return step, new


def _walked_in(namespace: str, rule: Rule, shape: tuple[int, ...]) -> np.ndarray:
    """The steps in another namespace; in JAX compiled, with every number of the rule traced."""
    import jax

    xp = importlib.import_module(namespace)

    def moved(rule: Any, *given: Any) -> Any:
        return rule.update(*given, xp)

    update = jax.jit(moved) if namespace == "jax.numpy" else moved

    def walk() -> np.ndarray:
        param, grads = (xp.asarray(x) for x in _drawn(shape))
        # The weights of a learned rule are NumPy's, of a precision of their own; a front places them likewise.
        here = jax.tree.map(lambda x: xp.asarray(np.asarray(x, np.float64)) if np.ndim(x) else x, rule)
        state, steps = here.init(param, xp), []
        for t, grad in enumerate(grads, 1):
            step, new = update(here, grad, state, param, xp.asarray(np.float64(t)))
            state = {key: xp.asarray(x, dtype=state[key].dtype) for key, x in new.items()}
            param = param + step
            steps.append(np.asarray(step))
        return np.stack(steps)

    with jax.enable_x64(True):
        return _call(rule, "update", namespace, walk)


def _agree(rule: Rule, steps: np.ndarray, others: np.ndarray, namespace: str) -> None:
    size = np.max(np.abs(steps), initial=0)
    if not np.allclose(others, steps, rtol=0, atol=NEAR * size, equal_nan=True):
        apart = float(np.max(np.abs(others - steps)))
        raise _not_kept(rule, f"steps otherwise in {namespace} than in numpy, by up to {apart:.2g}; use xp's functions")


def _check_entries(rule: Rule) -> None:
    """Whether entries that are turned round have their steps turned round, and a part of them its part."""
    param, grads = _drawn((6,))

    def first(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        p = of(param)
        with np.errstate(all="ignore"):
            return np.asarray(rule.update(of(grads[0]), rule.init(p, np), p, 1, np)[0])

    whole = first(lambda x: x)
    parts: list[Callable[[np.ndarray], np.ndarray]] = [lambda x: x[::-1], lambda x: x[:2]]
    for of in parts:
        if not np.allclose(first(of), of(whole), rtol=NEAR, atol=0, equal_nan=True):
            raise _not_kept(rule, "has entries that depend on each other; declare elementwise = False")


def _call(rule: Rule, method: str, namespace: str, made: Callable[[], Any]) -> Any:
    """What the rule makes; what it raises, in a sentence."""
    try:
        with np.errstate(all="ignore"):
            return made()
    except Exception as error:
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        way = "use xp's functions, and xp.where in place of a branch on a number"
        raise _not_kept(rule, f"fails in {namespace}, in {method}, by {told}; {way}") from error


def _not_kept(rule: Rule, what: str) -> BadInput:
    return BadInput(f"the rule {rule.name!r} {what}")
