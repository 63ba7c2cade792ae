"""What every rule must do, asked of every rule: each variant, each optional term, each preset, each wrapper.

The cases come from the registry, so a rule is tested here from the moment it is declared.
"""

import copy
import re
from contextlib import suppress
from itertools import islice

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
from optiscope.rules import LogUniform, Rule, Schedule, Uniform, Wrapper, contract, hyper, variant

STEPS = 50


@osc.rule
class Declared(Rule):
    """A rule of the test's own, with what the first families lack: an axis more in the state, and a norm."""

    presets = {"torch": {"rate": 0.3}}
    elementwise = False

    lr: float = hyper(0.1, LogUniform(1e-6, 1e1))
    rate: float = hyper(0.5, LogUniform(1e-3, 1.0))
    floor: float | None = hyper(None, LogUniform(1e-3, 1.0))
    reads: str = variant("both", "older")

    def init(self, param, xp):
        return {"h": xp.stack([xp.zeros_like(param)] * 2, -1)}

    def update(self, grad, state, param, t, xp):
        h = xp.stack([(1 - self.rate) * state["h"][..., 0] + grad, state["h"][..., 0]], -1)
        u = h[..., 1] if self.reads == "older" else h[..., 0] + h[..., 1]
        norm = xp.sqrt(xp.sum(grad * grad) + 1e-12)
        return -self.lr * u / (1 + norm if self.floor is None else self.floor + norm), {"h": h}


SCHEDULES = [
    osc.Constant(0.1),
    osc.InverseTime(0.1, 10),
    osc.InverseSqrt(0.1),
    osc.Step(0.1, 0.5, 20),
    osc.Exponential(0.1, 0.9, 5),
    osc.Piecewise((10, 30), (0.1, 0.05, 0.2)),
    osc.Polynomial(0.1, 0.01, 40, 2),
    osc.Cosine(0.1, 40, 0.01),
    osc.LinearWarmup(0.1, 10),
    osc.LinearWarmup(0.1, 10, 0.01, osc.InverseSqrt(0.1)),
    osc.OneCycle(0.1, 50),
    osc.Chained((osc.LinearWarmup(0.1, 10), osc.Constant(0.1), osc.Cosine(0.1, 20)), (10, 30)),
]
WRAPPED = [
    osc.ClipByValue(osc.Momentum(), 0.7),
    osc.ClipByNorm(osc.Adam(), 0.7),
    osc.L2(osc.RMSProp(), 0.1),
    osc.WeightDecay(osc.Adam(), 0.1),
    osc.WeightDecay(osc.L2(osc.ClipByNorm(osc.Nesterov()), 0.1), 0.1),
    osc.ClipByValue(Declared()),
    osc.Scheduled(osc.Adam(), b1=osc.Cosine(0.9, 40, 0.5), eps=osc.Exponential(1e-3, 0.9)),
    osc.Scheduled(osc.WeightDecay(osc.ClipByValue(osc.Lion())), lr=osc.InverseSqrt(0.1), limit=osc.Constant(0.5)),
    osc.Scheduled(osc.Scheduled(osc.Nadam(), b2=osc.Polynomial(0.9, 0.99, 40)), lr=osc.Cosine(0.1, 40)),
    osc.Annealed(osc.ClipByValue(osc.Adam(), 0.7), 40, 0.2, 2.0, 0.1),
    *(osc.Scheduled(osc.Momentum(lr_in="velocity"), lr=schedule) for schedule in SCHEDULES),
]


def variations(cls):
    """Settings that between them take every choice of every variant, and have every optional term and lack it."""
    present = {n: round(float(s.quantile(0.5)), 10) for n, s in cls.hypers().items() if getattr(cls, n) is None}
    absent = {n: None for n in cls.hypers() if n not in present}
    yield from ({}, *({n: v} for n, v in {**present, **absent}.items()))
    for name, (_, *others) in cls.variants().items():
        # A variant may only matter where an optional term is there (RMSProp's lr_in), or not go with it.
        yield from ({**also, name: other} for other in others for also in (present, {}))


def every_case():
    """Every registered rule in every variation and preset, and the wrappers, each by a name of its own."""
    for name in osc.rules.names():
        cls = type(osc.rule(name))
        for made in variations(cls):
            with suppress(osc.BadInput):  # a term that cannot be absent, or two that exclude each other
                yield ",".join([name, *(f"{k}={v}" for k, v in made.items())]), cls(**made)
        for framework in cls.presets:
            yield f"{name},{framework}", cls.preset(framework)
    yield from ((",".join(re.findall(r"\w+(?=\()", repr(made))), made) for made in WRAPPED)


def chain(rule):
    """The rule, the rule that it holds, and so on inwards."""
    return [rule, *(chain(rule.rule) if isinstance(rule, Wrapper) else [])]


# A setting that has two names runs once, under the first.
CASES = dict(reversed({repr(made): (name, made) for name, made in reversed([*every_case()])}.values()))
# Registered for as long as the cases were gathered: other tests list the package's own rules.
del contract._registry["declared"]

every_rule = pytest.mark.parametrize("rule", CASES.values(), ids=CASES.keys())


def ours(classes):
    """Those of the package: another test file may have declared more."""
    return {cls for cls in classes if cls.__module__.startswith("optiscope.rules.")}


def test_every_class_variant_optional_term_and_schedule_has_a_case():
    """This file's own rule among them, which did nothing for it but be declared."""
    assert {"declared", "declared,floor=0.0316227766", "declared,reads=older", "declared,torch"} <= CASES.keys()
    registered = [type(osc.rule(name)) for name in osc.rules.names()]
    classes = {Declared, *ours(registered), *ours(Wrapper.__subclasses__())}
    assert classes <= {type(part) for made in CASES.values() for part in chain(made)}
    for cls in classes:
        made = [rule for rule in CASES.values() if type(rule) is cls]
        for name, choices in cls.variants().items():
            assert {getattr(rule, name) for rule in made} == {*choices}
        for name in cls.hypers():
            assert any(getattr(rule, name) is not None for rule in made)
    assert {type(schedule) for schedule in SCHEDULES} == ours(Schedule.__subclasses__())
    assert {*map(repr, WRAPPED)} <= {*map(repr, CASES.values())}


# Every rule is led along the noisy gradients z + h x of a quadratic: plain operators, the same in every namespace.
RNG = np.random.default_rng(0)
START = RNG.normal(size=(2, 3))
CURVATURE = RNG.uniform(0.5, 2, (2, 3))
NOISE = RNG.normal(size=(STEPS, 2, 3))


def walk(rule, start, noise, curvature, xp, number, keep=lambda x, dtype: x):
    """The steps and states of a rule, for any namespace."""
    x, state, steps, states = start, rule.init(start, xp), [], []
    for t, z in enumerate(noise, 1):
        step, new = rule.update(curvature * x + z, state, x, number(t, x.dtype), xp)
        step, state = keep(step, x.dtype), {key: keep(new[key], state[key].dtype) for key in new}
        x = x + step
        steps.append(step)
        states.append(state)
    return steps, states


def keras_array(x, dtype=None):
    return keras.ops.convert_to_tensor(x, dtype or x.dtype)  # which would make a float64 one float32 unasked


IN_JAX = (jnp, lambda t, dtype: jnp.int32(t))
IN_TORCH = (torch, lambda t, dtype: torch.tensor(t, dtype=torch.float64), torch.Tensor.to)
NAMESPACES = {
    "jax": (jnp.asarray, IN_JAX),
    "torch": (torch.asarray, IN_TORCH),
    "keras": (keras_array, (keras.ops, keras_array)),
}
"""Each with how to make an array of it, how its front passes t, and what the front casts.

To torch a t without axes is a number beside a parameter with axes, but no less than one without: it would make float64
of that parameter's step, and of a state without axes.
"""


def walk_in(namespace, rule, start=START, noise=NOISE, curvature=CURVATURE):
    array, means = NAMESPACES[namespace]
    return gathered(*walk(rule, array(start), [array(z) for z in noise], array(curvature), *means))


def walk_in_numpy(rule, start=START, noise=NOISE, curvature=CURVATURE):
    """The same by the NumPy front."""
    rest = iter(noise)
    with np.errstate(all="ignore"):  # some gradients here overflow on purpose
        done = list(islice(iterate(lambda x: curvature * x + next(rest), start, rule), len(noise)))
    return gathered([each.step for each in done], [each.state for each in done])


def gathered(steps, states):
    columns = {"step": steps, **{key: [state[key] for state in states] for key in states[0]}}
    return {key: np.stack([np.asarray(each) for each in column]) for key, column in columns.items()}


TRACED = []


@jax.jit
def scanned(rule, start, noise, curvature):
    TRACED.append(rule)

    def body(carry, at):
        (x, state), (t, z) = carry, at
        step, state = rule.update(curvature * x + z, state, x, t, jnp)
        return (x + step, state), {"step": step, **state}

    ts = jnp.arange(1, len(noise) + 1, dtype=jnp.int32)
    return jax.lax.scan(body, (start, rule.init(start, jnp)), (ts, noise))[1]


def assert_same(ours, theirs, tolerance=1e-12):
    """Equal to `tolerance`, relative to the largest size that each coordinate has along the way."""
    assert ours.keys() == theirs.keys()
    for key, b in theirs.items():
        a = np.asarray(ours[key])
        assert (a.shape, a.dtype) == (b.shape, b.dtype), key
        with np.errstate(invalid="ignore"):  # inf − inf
            size = np.max(np.abs(b), axis=0, initial=0, where=np.isfinite(b))
            wrong = ~((np.abs(a - b) <= tolerance * size) | (a == b) | (np.isnan(a) & np.isnan(b)))
        assert not wrong.any(), f"{key}: {a[wrong][:6]} is not {b[wrong][:6]}, first at {np.argwhere(wrong)[0]}"


def reach(namespace, rule):
    """How near to NumPy: all of float64, but for cosines in Keras, which computes them in float32 (its issue 23223).

    Of a β from such a cosine, Adam uses 1 − β, which is ten times less precise.
    """
    return 1e-5 if namespace == "keras" and any(name in repr(rule) for name in ("Cosine", "OneCycle")) else 1e-12


def times(rule, by):
    """The rule with every leaf multiplied."""
    return jax.tree.map(lambda leaf: by * leaf, rule)


@every_rule
def test_same_trajectory_in_every_namespace(rule):
    expected = walk_in_numpy(rule)
    assert np.isfinite(expected["step"]).all()
    assert np.any(expected["step"] != 0)
    for namespace in NAMESPACES:
        assert_same(walk_in(namespace, rule), expected, reach(namespace, rule))
    assert_same(scanned(rule, START, NOISE, CURVATURE), expected)


@every_rule
def test_compiles_once_for_all_values_of_its_leaves(rule):
    one, other = times(rule, 1.0), times(rule, 0.9)
    assert_same(scanned(one, START, NOISE, CURVATURE), walk_in_numpy(one))
    before = len(TRACED)
    assert_same(scanned(other, START, NOISE, CURVATURE), walk_in_numpy(other))
    assert len(TRACED) == before


@every_rule
def test_vmap_over_the_leaves_is_a_loop(rule):
    several = [times(rule, by) for by in (1.0, 0.9, 0.8)]
    batch = jax.tree.map(lambda *leaves: jnp.asarray(leaves), *several)
    steps, states = jax.vmap(lambda each: walk(each, START, NOISE[:5], CURVATURE, *IN_JAX))(batch)
    together = gathered(steps, states)
    for i, each in enumerate(several):
        assert_same({key: column[:, i] for key, column in together.items()}, walk_in_numpy(each, noise=NOISE[:5]))


@every_rule
def test_gradient_in_every_leaf_is_a_central_difference(rule):
    """Of the loss after 5 steps. Sign descent too: between two flips of a sign its loss is smooth in lr."""
    # A leaf below the width of the difference, as ε is, would bend within it.
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda leaf: max(float(leaf), 1e-2), rule))

    def loss(steps):
        return ((START + sum(steps)) ** 2).sum()

    def loss_in_numpy(leaves):
        return loss(walk_in_numpy(tree.unflatten(leaves), noise=NOISE[:5])["step"])

    gradient = jax.grad(lambda r: loss(walk(r, START, NOISE[:5], CURVATURE, *IN_JAX)[0]))(tree.unflatten(leaves))
    for i, slope in enumerate(jax.tree.leaves(gradient)):
        low, high = ([*leaves[:i], leaves[i] + h, *leaves[i + 1 :]] for h in (-1e-6, 1e-6))
        assert slope == pytest.approx((loss_in_numpy(high) - loss_in_numpy(low)) / 2e-6, rel=1e-6, abs=1e-8)


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_step_and_state_keep_the_dtype(rule, dtype):
    start, curvature, noise = (jnp.asarray(x, dtype) for x in (START, CURVATURE, NOISE[:10]))
    steps, states = walk(rule, start, noise, curvature, *IN_JAX)
    assert {x.dtype for x in jax.tree.leaves((steps, states))} == {jnp.dtype(dtype)}
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((steps, states)))


@every_rule
def test_float32_in_numpy(rule):
    ours = walk_in_numpy(rule, *(x.astype("float32") for x in (START, NOISE[:10], CURVATURE)))
    assert {x.dtype for x in ours.values()} == {np.dtype("float32")}
    assert all(np.isfinite(x).all() for x in ours.values())


def with_entry(value):
    """Gradients one of which has `value` in one place."""
    noise = NOISE[:4].copy()
    noise[1, 0, 0] = value
    return noise


STRANGE = {
    "nan": (START, with_entry(np.nan), CURVATURE),
    "inf": (START, with_entry(np.inf), CURVATURE),
    "huge": (START, 1e30 * NOISE[:4], CURVATURE),
    "zero": (START, 0 * NOISE[:4], 0 * CURVATURE),
    "0-d": (START[0, 0], NOISE[:4, 0, 0], CURVATURE[0, 0]),
    "empty": (START[:0], NOISE[:4, :0], CURVATURE[:0]),
}


@every_rule
@pytest.mark.parametrize("strange", STRANGE)
def test_strange_gradients_have_one_answer(rule, strange):
    expected = walk_in_numpy(rule, *STRANGE[strange])
    assert expected["step"].shape == STRANGE[strange][1].shape
    for namespace in NAMESPACES:
        assert_same(walk_in(namespace, rule, *STRANGE[strange]), expected, reach(namespace, rule))


EDGES = [
    (rule.name, name, edge)
    for rule in map(osc.rule, osc.rules.names())
    for name, space in rule.hypers().items()
    for edge in ((space.low, space.high) if isinstance(space, Uniform) else (0.0,))
]


@pytest.mark.parametrize(("rule", "field", "value"), [*EDGES, ("radam", "b2", 0.6), ("radam", "b2", 1 / 3)])
def test_settings_at_the_edge_have_one_answer(rule, field, value):
    """Every rate and every ε may be 0. RAdam's ρ∞ is 4 at β₂ = 0.6 and 2 at ⅓, and divides by ρ∞ − 4 and ρ∞ − 2."""
    made = osc.rule(rule, **{field: value})
    expected = walk_in_numpy(made, noise=NOISE[:4])
    for namespace in NAMESPACES:
        assert_same(walk_in(namespace, made, noise=NOISE[:4]), expected)


@every_rule
def test_gradients_whose_square_overflows_have_one_answer(rule):
    start, noise, curvature = (x.astype("float32") for x in (START, 1e30 * NOISE[:4], CURVATURE))
    expected = walk_in_numpy(rule, start, noise, curvature)
    for namespace in NAMESPACES:
        assert_same(walk_in(namespace, rule, start, noise, curvature), expected, 1e-5)


@every_rule
def test_state_is_all_that_a_rule_remembers(rule):
    """A run that is broken off, and goes on from a copy of its state, ends as it would have; no input is written to."""
    rest, whole = iter(NOISE), []
    for each in islice(iterate(lambda x: CURVATURE * x + next(rest), START, rule), 10):
        whole.append(copy.deepcopy(each))
    fifth = whole[4]
    leaves, tree = jax.tree.flatten(fifth.state)
    x, state = fifth.x_next, tree.unflatten([np.copy(leaf) for leaf in leaves])
    first = rule.init(START, np)
    for at in whole[5:]:
        assert {k: (v.shape, v.dtype) for k, v in state.items()} == {k: (v.shape, v.dtype) for k, v in first.items()}
        for array in (x, at.grad, *state.values()):
            np.asarray(array).flags.writeable = False  # NumPy now refuses what would write into one
        step, state = rule.update(at.grad, state, x, at.t, np)
        np.testing.assert_array_equal(step, at.step)
        x = x + step
    for key, value in whole[-1].state.items():
        np.testing.assert_array_equal(state[key], value)


@every_rule
def test_lr_0_moves_nothing(rule):
    if "lr" in getattr(rule, "schedules", {}):
        rule = rule.replace(schedules={**rule.schedules, "lr": osc.Constant(0.0)})
    else:
        rule = rule.replace(lr=0.0)
    assert not walk_in_numpy(rule)["step"].any()


@every_rule
def test_elementwise_means_entry_by_entry(rule):
    """Or else the gradient of one entry must be seen to move another."""
    other = NOISE[:10].copy()
    other[:, 0, 0] *= 3
    ours, theirs = (walk_in_numpy(rule, noise=noise)["step"] for noise in (NOISE[:10], other))
    rest = np.ones((2, 3), bool)
    rest[0, 0] = False
    assert np.array_equal(ours[:, rest], theirs[:, rest]) == rule.elementwise
    if rule.elementwise:
        order = np.random.default_rng(1).permutation(6)
        start, curvature, noise = (x.reshape(-1, 6)[:, order] for x in (START, CURVATURE, NOISE[:10]))
        permuted = walk_in_numpy(rule, start[0], noise, curvature[0])["step"]
        np.testing.assert_array_equal(permuted, ours.reshape(-1, 6)[:, order])


rules = st.sampled_from(list(CASES.values()))
shapes = st.sampled_from([(), (0,), (3,), (4, 5), (2, 3, 4, 5)])
# Repeatable, and without a limit of time for one example: a shared machine may be slow for a moment.
examples = settings(max_examples=300, derandomize=True, deadline=None, database=None)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@examples
@given(rules, shapes, st.sampled_from(["float32", "float64", "bfloat16"]), st.integers(0, 99))
def test_any_shape_and_dtype_is_kept(rule, shape, dtype, seed):
    x, noise = (torch.asarray(normal(seed, *size)).to(getattr(torch, dtype)) for size in (shape, (3, *shape)))
    steps, states = walk(rule, x, noise, 0.5, *IN_TORCH)
    assert {(each.shape, each.dtype) for each in steps} == {(x.shape, x.dtype)}
    for key, first in rule.init(x, torch).items():
        assert {(state[key].shape, state[key].dtype) for state in states} == {(first.shape, first.dtype)}
        assert first.shape == () or first.shape[: x.ndim] == x.shape  # scalar, or the parameter's with trailing axes
        assert first.dtype == x.dtype
    if dtype != "bfloat16":
        ours = walk_in_numpy(rule, x.numpy(), noise.numpy(), np.asarray(0.5, dtype))
        assert {(each.shape, each.dtype.name) for each in ours["step"]} == {(shape, dtype)}


@examples
@given(rules.filter(lambda rule: rule.elementwise), shapes, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_what_is_not_finite_stays_in_its_entry(rule, shape, value, data):
    noise = normal(0, 4, *shape)
    at = tuple(data.draw(st.integers(0, n - 1)) for n in shape) if noise.size else ()
    broken = noise.copy()
    broken[(1, *at)] = value
    start = normal(1, *shape)
    well, ill = (walk_in_numpy(rule, start, each, np.asarray(0.5)) for each in (noise, broken))
    for key in well:
        elsewhere = np.ones(well[key].shape, bool)
        if well[key].shape[1 : 1 + len(shape)] == shape:  # a scalar of the state must not have heard of it at all
            elsewhere[(slice(None), *at)] = False
        np.testing.assert_array_equal(well[key][elsewhere], ill[key][elsewhere])


def test_gradients_that_do_not_vary_have_a_deviation():
    """Of one gradient v̂ − m̂² is 0, and what rounding makes of 0 may be negative."""
    centered = osc.RMSProp(centered=True, corrected=True)
    for gradient in normal(0, 100, 4, 2, 3):
        gradient[1:] = gradient[0]
        assert np.isfinite(walk_in_numpy(centered, noise=gradient, curvature=0 * CURVATURE)["step"]).all()


@examples
@given(rules, shapes, st.integers(0, 99))
def test_a_fresh_rule_at_rest_stays_there(rule, shape, seed):
    decays = any(getattr(part, "weight_decay", None) is not None for part in chain(rule))
    start = np.zeros(shape) if decays else normal(seed, *shape)
    assert not walk_in_numpy(rule, start, np.zeros((4, *shape)), np.zeros(()))["step"].any()
