"""The torch front steps as NumPy and JAX do, as the rule is written and compiled; and what is compiled, and when."""

import warnings
from contextlib import suppress
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import optiscope as osc
from optiscope.frameworks.numpy import iterate
from optiscope.frameworks.torch import Optimizer, kernels

STEPS = 100
SHAPES = [(3, 4), (), (5,), (2, 1, 3), (0, 2)]
PLAIN = [osc.rule(name) for name in osc.rules.names()]
WRAPPED = [
    osc.L2(osc.Momentum(dampening=0.3), 0.1),
    osc.WeightDecay(osc.ClipByValue(osc.Nadam(), 0.7), 0.1),
    osc.Scheduled(
        osc.WeightDecay(osc.Adam()), lr=osc.LinearWarmup(0.1, 10, then=osc.Cosine(0.1, 50)), b1=osc.Constant(0.5)
    ),
]
CLIPPED = osc.ClipByNorm(osc.Adam(), 0.7)


def variations():
    """Every rule with each of its variants, and with each term that may be absent and present."""
    for rule in PLAIN:
        for name, choices in rule.variants().items():
            yield from (rule.replace(**{name: choice}) for choice in choices)
        for name in rule.hypers():
            with suppress(osc.BadInput):
                yield rule.replace(**{name: 0.3 if getattr(rule, name) is None else None})


VARIED = {repr(rule): rule for rule in [*variations(), *WRAPPED, CLIPPED]}
ELEMENTWISE = [rule for rule in [*PLAIN, *WRAPPED] if rule.elementwise]


def problem(dtype, seed=0):
    """Starts and, for every step, gradients, of the parameters of SHAPES."""
    rng = np.random.default_rng(seed)
    start = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    # Gradients between 1e-6 and 10, as coordinates of a network have them.
    scales = [10.0 ** rng.integers(-6, 2, shape) for shape in SHAPES]
    grads = [[(rng.standard_normal(s.shape) * s).astype(dtype) for s in scales] for _ in range(STEPS)]
    return start, grads


def in_numpy(rule, dtype):
    start, grads = problem(dtype)
    left = iter(grads)
    return [*islice(iterate(lambda _: next(left), start, rule), STEPS)][-1].x_next


def in_jax(rule, dtype):
    start, grads = problem(dtype)

    @jax.jit
    def go(params, grads):
        def step(carry, given):
            t, params, states = carry
            moves = [rule.update(g, s, p, t, jnp) for g, s, p in zip(given, states, params, strict=True)]
            params = [p + move for p, (move, _) in zip(params, moves, strict=True)]
            return (t + 1, params, [state for _, state in moves]), None

        states = [rule.init(p, jnp) for p in params]
        return jax.lax.scan(step, (jnp.int32(1), params, states), grads)[0][1]

    return go([jnp.asarray(p) for p in start], [jnp.stack(g) for g in zip(*grads, strict=True)])


def in_torch(rule, dtype, compiled):
    start, grads = problem(dtype)
    params = [nn.Parameter(torch.tensor(p)) for p in start]
    optimizer = Optimizer(params, rule, compiled=compiled)
    for given in grads:
        for p, g in zip(params, given, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in params]


def agree(one, other, dtype):
    # Float32 rounds every operation of a step: four units in the last place of what was moved through, a step.
    tolerance = 1e-12 if dtype == "float64" else 4 * np.finfo(dtype).eps
    for a, b, start in zip(one, other, problem(dtype)[0], strict=True):
        room = STEPS if dtype == "float32" else 1
        scale = np.maximum(1, np.maximum(abs(np.asarray(b)), abs(start)))
        np.testing.assert_array_less(abs(np.asarray(a) - np.asarray(b)), tolerance * room * scale + 1e-300)


@pytest.mark.parametrize("rule", VARIED.values(), ids=VARIED.keys())
def test_eager_steps_are_numpys(rule):
    agree(in_torch(rule, "float64", False), in_numpy(rule, "float64"), "float64")


@pytest.mark.parametrize("rule", [*PLAIN, *WRAPPED, CLIPPED], ids=lambda rule: rule.name)
def test_eager_steps_in_float32_are_numpys(rule):
    agree(in_torch(rule, "float32", False), in_numpy(rule, "float32"), "float32")


@pytest.mark.parametrize("rule", [*PLAIN, *WRAPPED, CLIPPED], ids=lambda rule: rule.name)
def test_eager_steps_are_jaxs(rule):
    agree(in_torch(rule, "float64", False), in_jax(rule, "float64"), "float64")


@pytest.mark.parametrize("rule", ELEMENTWISE, ids=lambda rule: rule.name)
def test_compiled_steps_are_numpys(rule):
    agree(in_torch(rule, "float64", True), in_numpy(rule, "float64"), "float64")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", VARIED.values(), ids=VARIED.keys())
def test_every_variation_compiled_steps_as_numpy(rule, dtype):
    agree(in_torch(rule, dtype, True), in_numpy(rule, dtype), dtype)


@pytest.fixture
def compilations(monkeypatch):
    """The kernels compiled from here on."""
    made = []
    compile = kernels._compile
    monkeypatch.setattr(kernels, "_programs", {})
    monkeypatch.setattr(kernels, "_compile", lambda *args: made.append(args) or compile(*args))
    return made


def test_one_kernel_serves_every_size_value_and_optimizer(compilations):
    for sizes, rule in [((3, 50_000), osc.Adam()), ((7, 1, 0), osc.Adam(lr=0.5, b1=0.1)), ((40_000,) * 3, osc.Adam())]:
        params = [nn.Parameter(torch.ones(n)) for n in sizes]
        optimizer = Optimizer([{"params": params[:1], "lr": 0.3}, {"params": params[1:]}], rule, compiled=True)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(5):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
            schedule.step()
    assert len(compilations) == 1


def test_where_pythons_floats_overflow_a_kernel_steps_as_written():
    """By β₁ᵗ with β₁ > 1: what is assigned to a group is not checked."""
    params = [nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2)]
    for p, compiled in zip(params, (False, True), strict=True):
        optimizer = Optimizer([p], osc.RAdam(), compiled=compiled)
        optimizer.param_groups[0]["betas"] = (1.5, 0.999)
        for k in range(3):
            p.grad = torch.ones_like(p)
            if k == 2:
                optimizer.state[p]["step"].fill_(5000.0)
            optimizer.step()
    torch.testing.assert_close(*params, equal_nan=True)


def test_auto_compiles_where_there_is_enough_to_do(compilations):
    for n, count in [(100, 0), (2**16, 1)]:
        p = nn.Parameter(torch.zeros(n))
        p.grad = torch.ones(n)
        Optimizer([p], osc.Adam()).step()
        assert len(compilations) == count


def test_without_a_compiler_it_says_so_once_and_steps_as_written(monkeypatch):
    def fail(*_):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(kernels, "_compile", fail)
    monkeypatch.setattr(kernels, "_programs", {})
    monkeypatch.setattr(kernels, "_told", False)
    params = [nn.Parameter(torch.zeros(n)) for n in (2**16, 2**16)]
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = Optimizer(params, osc.Adam(lr=0.5))
    with pytest.warns(UserWarning, match=r"runs as it is written.*no C\+\+ compiler found.*compiled=False"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        Optimizer(params, osc.RMSProp()).step()
    assert torch.allclose(params[0], torch.tensor(-1.0), atol=0.2)

    with pytest.raises(osc.BadInput, match=r"compiled=True, but .*no C\+\+ compiler found"):
        Optimizer(params, osc.Adam(), compiled=True).step()
