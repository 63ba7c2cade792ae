"""Every preset against the optimizer it names: 40 steps of torch's, optax's or Keras' own, while the rate changes.

The gradients span seven orders of magnitude and begin with zeros in one coordinate.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from papers import path, relative_error

import optiscope as osc
from optiscope.frameworks.numpy import iterate
from optiscope.rules import InverseTime, Piecewise, Wrapper

STEPS = 40
GRADIENTS = np.random.default_rng(0).standard_normal((STEPS, 7)) * [1, 0.1, 3, 1e-3, 1e-6, 1, 10]
GRADIENTS[:3, 5] = 0
START = np.random.default_rng(1).standard_normal(7)
RATES = Piecewise((15, 28), (0.01, 0.005, 0.015))
LR = [RATES(k, np).item() for k in range(STEPS)]


def ours(rule):
    gradients = iter(GRADIENTS)
    return path((step.x_next for step in iterate(lambda x: next(gradients), START, rule)), STEPS)


def assert_equal_on_the_way(rule, theirs):
    assert relative_error(ours(osc.Scheduled(rule, lr=RATES)), theirs, START) < 1e-12


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="torch is an extra")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # that of NAdam's product of momenta
    yield torch
    torch.set_default_dtype(before)


@pytest.fixture
def keras():
    keras = pytest.importorskip("keras", reason="keras is an extra")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(before)


def torch_walk(torch, optimizer, rates=LR):
    group = optimizer.param_groups[0]
    (x,) = group["params"]
    for group["lr"], gradient in zip(rates, GRADIENTS, strict=True):
        x.grad = torch.tensor(gradient)
        optimizer.step()
        yield x.detach().numpy().copy()


def optax_path(name, settings):
    optax = pytest.importorskip("optax", reason="optax is a development extra")
    rates = jnp.array(LR)
    transform = getattr(optax, name)(learning_rate=lambda k: rates[k], **settings)

    def step(carry, gradient):
        x, state = carry
        updates, state = transform.update(gradient, state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    x = jnp.array(START)
    return np.array(jax.jit(lambda: jax.lax.scan(step, (x, transform.init(x)), jnp.array(GRADIENTS))[1])())


def keras_walk(keras, optimizer):
    x = keras.Variable(START, dtype="float64")
    for optimizer.learning_rate, gradient in zip(LR, GRADIENTS, strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [x])
        yield x.value.tolist()


def case(rule, name, **settings):
    written = ", ".join(f"{k}={v}" for k, v in settings.items())
    return pytest.param(rule, name, settings, id=f"{name}({written})")


def innermost(rule):
    return innermost(rule.rule) if isinstance(rule, Wrapper) else rule


def preset(framework):
    return lambda cls, **settings: cls.preset(framework, **settings)


in_torch, in_optax, in_keras = preset("torch"), preset("optax"), preset("keras")

TORCH = [
    case(in_torch(osc.GradientDescent), "SGD"),
    case(osc.L2(in_torch(osc.GradientDescent), 0.1), "SGD", weight_decay=0.1),
    case(in_torch(osc.Momentum), "SGD", momentum=0.9),
    case(in_torch(osc.Momentum, dampening=0.5), "SGD", momentum=0.9, dampening=0.5),
    case(osc.L2(in_torch(osc.Momentum, momentum=0.7), 0.1), "SGD", momentum=0.7, weight_decay=0.1),
    case(in_torch(osc.Nesterov), "SGD", momentum=0.9, nesterov=True),
    case(in_torch(osc.AdaGrad), "Adagrad"),
    case(in_torch(osc.AdaGrad, initial=0.3), "Adagrad", initial_accumulator_value=0.3),
    case(in_torch(osc.AdaDelta), "Adadelta"),
    case(in_torch(osc.RMSProp), "RMSprop"),
    case(in_torch(osc.RMSProp, momentum=0.9), "RMSprop", momentum=0.9),
    case(in_torch(osc.RMSProp, centered=True), "RMSprop", centered=True),
    case(in_torch(osc.RMSProp, centered=True, momentum=0.9), "RMSprop", centered=True, momentum=0.9),
    case(in_torch(osc.Adam), "Adam"),
    case(osc.L2(in_torch(osc.Adam), 0.1), "Adam", weight_decay=0.1),
    case(in_torch(osc.AdamW), "AdamW"),
    case(osc.WeightDecay(in_torch(osc.Adam), 0.1), "AdamW", weight_decay=0.1),
    case(in_torch(osc.AMSGrad), "Adam", amsgrad=True),
    case(osc.WeightDecay(in_torch(osc.AMSGrad), 0.01), "AdamW", amsgrad=True),
    case(in_torch(osc.AdaMax), "Adamax"),
    case(osc.L2(in_torch(osc.AdaMax), 0.1), "Adamax", weight_decay=0.1),
    case(in_torch(osc.Nadam), "NAdam"),
    case(in_torch(osc.Nadam, psi=0.1), "NAdam", momentum_decay=0.1),
    case(osc.L2(in_torch(osc.Nadam), 0.1), "NAdam", weight_decay=0.1),
    case(in_torch(osc.NAdamW, weight_decay=0.1), "NAdam", weight_decay=0.1, decoupled_weight_decay=True),
    case(in_torch(osc.RAdam), "RAdam"),
    case(osc.WeightDecay(in_torch(osc.RAdam), 0.1), "RAdam", weight_decay=0.1, decoupled_weight_decay=True),
]


@pytest.mark.parametrize(("rule", "name", "settings"), TORCH)
def test_torch(torch, rule, name, settings):
    optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.tensor(START))], **settings)
    assert innermost(rule).lr == optimizer.defaults["lr"]
    assert_equal_on_the_way(rule, path(torch_walk(torch, optimizer), STEPS))


OPTAX = [
    case(in_optax(osc.GradientDescent), "sgd"),
    case(in_optax(osc.Momentum), "sgd", momentum=0.9),
    case(in_optax(osc.Nesterov), "sgd", momentum=0.9, nesterov=True),
    case(in_optax(osc.SignDescent), "sign_sgd"),
    case(in_optax(osc.AdaGrad), "adagrad"),
    case(in_optax(osc.AdaGrad, initial=0.0), "adagrad", initial_accumulator_value=0.0),
    case(in_optax(osc.AdaDelta), "adadelta"),
    case(osc.L2(in_optax(osc.AdaDelta), 0.1), "adadelta", weight_decay=0.1),
    case(in_optax(osc.RMSProp), "rmsprop"),
    case(in_optax(osc.RMSProp, eps_at="outside root", rho=0.99), "rmsprop", eps_in_sqrt=False, decay=0.99),
    case(in_optax(osc.RMSProp, momentum=0.9), "rmsprop", momentum=0.9),
    case(in_optax(osc.RMSProp, momentum=0.9, nesterov=True), "rmsprop", momentum=0.9, nesterov=True),
    case(in_optax(osc.RMSProp, centered=True), "rmsprop", centered=True),
    case(in_optax(osc.RMSProp, corrected=True), "rmsprop", bias_correction=True),
    case(in_optax(osc.RMSProp, initial=1.0), "rmsprop", initial_scale=1.0),
    case(
        in_optax(osc.RMSProp, centered=True, corrected=True, initial=1.0, momentum=0.9),
        "rmsprop",
        centered=True,
        bias_correction=True,
        initial_scale=1.0,
        momentum=0.9,
    ),
    case(in_optax(osc.Adam), "adam"),
    case(in_optax(osc.Adam, eps_root=1e-4), "adam", eps_root=1e-4),
    case(in_optax(osc.AdamW), "adamw"),
    case(in_optax(osc.AdamW, eps_root=1e-4), "adamw", eps_root=1e-4),
    case(in_optax(osc.AMSGrad), "amsgrad"),
    case(in_optax(osc.AMSGrad, eps_root=1e-4), "amsgrad", eps_root=1e-4),
    case(in_optax(osc.AMSGrad, moments="raw"), "amsgrad", bias_correction_mu=False, bias_correction_nu=False),
    case(in_optax(osc.AdaMax), "adamax"),
    case(osc.WeightDecay(in_optax(osc.AdaMax), 0.1), "adamaxw", weight_decay=0.1),
    case(in_optax(osc.Nadam), "nadam"),
    case(in_optax(osc.Nadam, eps_root=1e-4), "nadam", eps_root=1e-4),
    case(in_optax(osc.NAdamW), "nadamw"),
    case(in_optax(osc.NAdamW, eps_root=1e-4), "nadamw", eps_root=1e-4),
    case(in_optax(osc.RAdam), "radam"),
    case(in_optax(osc.RAdam, eps_root=1e-4), "radam", eps_root=1e-4),
    case(in_optax(osc.RAdam, bound=6.0), "radam", threshold=6.0),
    case(in_optax(osc.Lion), "lion"),
]


@pytest.mark.parametrize(("rule", "name", "settings"), OPTAX)
def test_optax(rule, name, settings):
    assert_equal_on_the_way(rule, optax_path(name, settings))


KERAS = [
    case(in_keras(osc.GradientDescent), "SGD"),
    case(osc.WeightDecay(in_keras(osc.GradientDescent), 0.1), "SGD", weight_decay=0.1),
    case(osc.ClipByValue(in_keras(osc.GradientDescent), 0.5), "SGD", clipvalue=0.5),
    case(osc.ClipByNorm(in_keras(osc.Momentum), 2.0), "SGD", momentum=0.9, clipnorm=2.0),
    case(in_keras(osc.Momentum), "SGD", momentum=0.9),
    case(in_keras(osc.Nesterov), "SGD", momentum=0.9, nesterov=True),
    case(in_keras(osc.AdaGrad), "Adagrad"),
    case(in_keras(osc.AdaDelta), "Adadelta"),
    case(in_keras(osc.RMSProp), "RMSprop"),
    case(in_keras(osc.RMSProp, momentum=0.9), "RMSprop", momentum=0.9),
    case(in_keras(osc.RMSProp, centered=True), "RMSprop", centered=True),
    case(in_keras(osc.RMSProp, centered=True, momentum=0.9), "RMSprop", centered=True, momentum=0.9),
    case(in_keras(osc.Adam), "Adam"),
    case(osc.WeightDecay(in_keras(osc.Adam), 0.1), "Adam", weight_decay=0.1),
    case(in_keras(osc.AdamW), "AdamW"),
    case(in_keras(osc.AMSGrad), "Adam", amsgrad=True),
    case(osc.WeightDecay(in_keras(osc.AMSGrad), 0.004), "AdamW", amsgrad=True),
    case(in_keras(osc.AdaMax), "Adamax"),
    case(in_keras(osc.Nadam), "Nadam"),
    case(in_keras(osc.NAdamW), "Nadam", weight_decay=0.004),
    case(in_keras(osc.Lion), "Lion"),
    case(in_keras(osc.Lion, weight_decay=0.1), "Lion", weight_decay=0.1),
]


@pytest.mark.parametrize(("rule", "name", "settings"), KERAS)
def test_keras(keras, rule, name, settings):
    optimizer = getattr(keras.optimizers, name)(**settings)
    assert innermost(rule).lr == float(optimizer.learning_rate)
    assert_equal_on_the_way(rule, path(keras_walk(keras, optimizer), STEPS))


@pytest.mark.parametrize(("framework", "cases"), [("torch", TORCH), ("optax", OPTAX), ("keras", KERAS)])
def test_every_preset_is_tested(framework, cases):
    classes = [type(osc.rule(name)) for name in osc.rules.names()]
    presets = {cls.name for cls in classes if framework in cls.presets and cls.__module__.startswith("optiscope.rules")}
    assert {innermost(case.values[0]).name for case in cases} == presets


def test_torch_adagrad_with_lr_decay_is_inverse_time(torch):
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.tensor(START))], lr=0.01, lr_decay=0.1)
    theirs = path(torch_walk(torch, optimizer, rates=[0.01] * STEPS), STEPS)
    rule = osc.Scheduled(osc.AdaGrad.preset("torch"), lr=InverseTime(0.01, timescale=10.0))
    assert relative_error(ours(rule), theirs, START) < 1e-12


def test_replacing_the_rate_between_steps_is_a_schedule():
    rule, x = osc.WeightDecay(osc.Adam.preset("keras"), 0.1), START
    state, points = rule.init(x, np), []
    for t, (lr, gradient) in enumerate(zip(LR, GRADIENTS, strict=True), start=1):
        step, state = rule.replace(lr=lr).update(gradient, state, x, t, np)
        points.append(x := x + step)
    np.testing.assert_array_equal(points, ours(osc.Scheduled(rule, lr=RATES)))
