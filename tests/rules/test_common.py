"""What every rule must do, asked of every rule: each variant, each optional term, each preset, each wrapper.

The cases come from the registry, so a rule is tested here from the moment it is declared.
"""

import copy
from contextlib import suppress
from itertools import count, islice

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optiscope as osc
from optiscope.frameworks.numpy import iterate
from optiscope.rules import LogUniform, Rule, Schedule, Wrapper, contract, hyper, variant

STEPS = 60


@osc.rule
class Declared(Rule):
    """A rule of the test's own, with what no rule of the first families has: a state with an axis more, a norm."""

    presets = {"torch": {"rate": 0.3}}

    lr: float = hyper(0.1, LogUniform(1e-6, 1e1))
    rate: float = hyper(0.5, LogUniform(1e-3, 1.0))
    floor: float | None = hyper(None, LogUniform(1e-3, 1.0))
    shape: str = variant("sum", "last")

    elementwise = False

    def init(self, param, xp):
        return {"h": xp.stack([xp.zeros_like(param)] * 2, -1)}

    def update(self, grad, state, param, t, xp):
        h = xp.stack([(1 - self.rate) * state["h"][..., 0] + grad, state["h"][..., 0]], -1)
        u = h[..., 1] if self.shape == "last" else xp.sum(h, -1)
        norm = xp.sqrt(xp.sum(grad * grad))
        return -self.lr * u / (1 + norm if self.floor is None else self.floor + norm), {"h": h}


def variations(cls):
    """Settings that between them take every choice of every variant and every optional term, there and not there."""
    present = {n: float(s.quantile(0.5)) for n, s in cls.hypers().items() if getattr(cls, n) is None}
    absent = {n: None for n in cls.hypers() if n not in present}
    yield from ({}, *({n: v} for n, v in {**present, **absent}.items()))
    for name, (_, *others) in cls.variants().items():
        # A variant may only matter where an optional term is there (RMSProp's lr_in), or not go with it.
        yield from ({**also, name: other} for other in others for also in (present, {}))


def every_case():
    """Every registered rule in every variation, and the wrappers, by what to call them."""
    for name in osc.rules.names():
        cls = type(osc.rule(name))
        for made in variations(cls):
            with suppress(osc.errors.BadInput):  # not every term can be absent, and some exclude each other
                yield ",".join([name, *(f"{k}={v}" for k, v in made.items())]), cls(**made)
        yield from ((f"{name},{framework}", cls.preset(framework)) for framework in cls.presets)
    for made in WRAPPED:
        yield f"{made.name},{','.join(_inside(made))}", made


def _inside(made):
    return [*(type(s).__name__ for s in getattr(made, "schedules", {}).values()), *_names(made.rule)]


def _names(made):
    return [made.name, *(_names(made.rule) if isinstance(made, Wrapper) else ())]


SCHEDULES = [
    osc.Constant(0.1),
    osc.InverseTime(0.1, 10.0),
    osc.InverseSqrt(0.1),
    osc.Step(0.1, 0.5, 20.0),
    osc.Exponential(0.1, 0.9, 5.0),
    osc.Piecewise((10.0, 30.0), (0.1, 0.05, 0.2)),
    osc.Polynomial(0.1, 0.01, 40.0, 2.0),
    osc.Cosine(0.1, 40.0, 0.01),
    osc.LinearWarmup(0.1, 10.0),
    osc.LinearWarmup(0.1, 10.0, 0.01, osc.InverseSqrt(0.1)),
    osc.OneCycle(0.1, 50.0),
    osc.Chained((osc.LinearWarmup(0.1, 10.0), osc.Constant(0.1), osc.Cosine(0.1, 20.0)), (10.0, 30.0)),
]
WRAPPED = [
    osc.ClipByValue(osc.Momentum(), 0.7),
    osc.ClipByNorm(osc.Adam(), 0.7),
    osc.L2(osc.RMSProp(), 0.1),
    osc.WeightDecay(osc.Adam(), 0.1),
    osc.WeightDecay(osc.L2(osc.ClipByNorm(osc.Nesterov()), 0.1), 0.1),
    osc.ClipByValue(Declared()),
    osc.Scheduled(osc.Adam(), b1=osc.Cosine(0.9, 40.0, 0.5), eps=osc.Exponential(1e-3, 0.9)),
    osc.Scheduled(osc.WeightDecay(osc.ClipByValue(osc.Lion())), lr=osc.InverseSqrt(0.1), limit=osc.Constant(0.5)),
    osc.Scheduled(osc.Scheduled(osc.Nadam(), b2=osc.Polynomial(0.9, 0.99, 40.0)), lr=osc.Cosine(0.1, 40.0)),
    *(osc.Scheduled(osc.Momentum(lr_in="velocity"), lr=schedule) for schedule in SCHEDULES),
]
CASES = {repr(made): (name, made) for name, made in reversed([*every_case()])}  # a setting with two names runs once
CASES = dict(reversed(CASES.values()))
for _name in ("declared",):  # known to this file, but not to the tests that list the package's rules
    del contract._registry[_name]

every_rule = pytest.mark.parametrize("rule", CASES.values(), ids=CASES)

SHAPE = (2, 3)
RNG = np.random.default_rng(0)
START = RNG.normal(size=SHAPE)
CURVATURE = RNG.uniform(0.5, 2, SHAPE)
NOISE = RNG.normal(size=(STEPS, *SHAPE))


def keras_array(x):
    return keras.ops.convert_to_tensor(x, dtype=str(np.asarray(x).dtype))


NAMESPACES = {
    "jax": (jnp, jnp.asarray, jnp.int32),
    "torch": (torch, torch.asarray, lambda t: torch.tensor(float(t), dtype=torch.float64)),
    "keras": (keras.ops, keras_array, lambda t: keras_array(np.float64(t))),
}
"""Each with how to make an array of it, and how its front passes t. NumPy, what they are compared with, has its own."""


def walk(rule, start, noise, curvature, xp, number):
    """The steps and states of a rule along the noisy gradients of a quadratic; written for any namespace."""
    x, state, steps, states = start, rule.init(start, xp), [], []
    for t, z in enumerate(noise, 1):
        step, state = rule.update(curvature * x + z, state, x, number(t), xp)
        x = x + step
        steps.append(step)
        states.append(state)
    return steps, states


def numpy_walk(rule, start=START, noise=NOISE, curvature=CURVATURE):
    """The same by the NumPy front; arrays of every step."""
    clock = iter(noise)
    done = list(islice(iterate(lambda x: (curvature * x + next(clock)).astype(start.dtype), start, rule), len(noise)))
    return gather([s.step for s in done], [s.state for s in done])


def gather(steps, states):
    return {"step": np.stack(steps), **{k: np.stack([s[k] for s in states]) for k in states[0]}}


def walk_in(namespace, rule, start=START, noise=NOISE, curvature=CURVATURE):
    xp, array, number = NAMESPACES[namespace]
    return gather(*walk(rule, array(start), [array(z) for z in noise], array(curvature), xp, number))


TRACED = []


@jax.jit
def scanned(rule, start, noise):
    TRACED.append(rule)

    def body(carry, at):
        t, z = at
        step, state = rule.update(CURVATURE * carry[0] + z, carry[1], carry[0], t, jnp)
        return (carry[0] + step, state), {"step": step, **state}

    ts = jnp.arange(1, len(noise) + 1, dtype=jnp.int32)
    return jax.lax.scan(body, (start, rule.init(start, jnp)), (ts, noise))[1]


def assert_same(ours, theirs, tolerance=1e-12):
    """Equal to `tolerance`, relative to the largest size that each coordinate has along the way."""
    assert set(ours) == set(theirs)
    for key, b in theirs.items():
        a = np.asarray(ours[key])
        assert (a.shape, a.dtype) == (b.shape, b.dtype), key
        size = np.max(np.abs(b), axis=0, keepdims=True, initial=0, where=np.isfinite(b))
        wrong = np.isclose(a, b, rtol=tolerance, atol=0, equal_nan=True) | (np.abs(a - b) <= tolerance * size)
        assert wrong.all(), f"{key}: {a[~wrong]} is not {b[~wrong]}"


def scaled(rule, by):
    """The rule with every leaf times `by`."""
    return jax.tree.map(lambda leaf: leaf * by, rule)


def still(rule):
    """The rule with lr = 0, whether it is a hyperparameter or follows a schedule."""
    if isinstance(rule, osc.Scheduled) and "lr" in rule.schedules:
        return rule.replace(schedules={**rule.schedules, "lr": osc.Constant(0.0)})
    return rule.replace(lr=0.0)


def test_every_declared_rule_variant_wrapper_and_schedule_has_a_case():
    """This file's own rule among them, for nothing but its declaration."""
    assert {"declared", "declared,floor=0.0316227766016838", "declared,shape=last", "declared,torch"} <= CASES.keys()
    found = {type(r) for made in CASES.values() for r in (made, *_held(made))}
    assert found == {type(osc.rule(n)) for n in osc.rules.names()} | set(Wrapper.__subclasses__()) | {Declared}
    for cls in found:
        for name, choices in cls.variants().items():
            assert {getattr(made, name) for made in CASES.values() if type(made) is cls} == set(choices)
    assert {type(s) for s in SCHEDULES} == set(Schedule.__subclasses__())
