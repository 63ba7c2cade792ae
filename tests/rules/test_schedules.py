"""Every schedule by its closed form, in every namespace, and by the scheduler of torch, optax or Keras of its name."""

import math
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optiscope.errors import BadInput
from optiscope.rules import (
    Chained,
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    InverseTime,
    LinearWarmup,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
)

STEPS = 60


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is an extra")


@pytest.fixture
def keras():
    keras = pytest.importorskip("keras", reason="keras is an extra")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(before)


def in_numpy(schedule):
    return [schedule(k, np) for k in range(STEPS)]


def in_jax(schedule):
    """As inside a compiled loop: int32 counts, and the schedule's own numbers traced too."""
    return jax.jit(jax.vmap(lambda s, k: s(k, jnp), in_axes=(None, 0)))(schedule, jnp.arange(STEPS, dtype=jnp.int32))


def in_torch(schedule):
    torch = pytest.importorskip("torch", reason="torch is an extra")
    values = [schedule(torch.tensor(k, dtype=torch.float64), torch) for k in range(STEPS)]
    assert {value.dtype for value in values} == {torch.float64}
    return [value.item() for value in values]


def title(value):
    return str(value) if isinstance(value, Schedule) else ""


def hold(x):
    return min(max(x, 0.0), 1.0)


def half_cosine(start, end, x):
    return end + (start - end) * (1 + math.cos(math.pi * hold(x))) / 2


FORMULAS = [
    (Constant(0.3), lambda k: 0.3),
    (InverseTime(0.3, 7), lambda k: 0.3 / (1 + k / 7)),
    (InverseSqrt(0.3), lambda k: 0.3 / math.sqrt(k + 1)),
    (Step(0.3, 0.5, 7), lambda k: 0.3 * 0.5 ** (k // 7)),
    (Step(0.3, 0.5, 2.5), lambda k: 0.3 * 0.5 ** math.floor(k / 2.5)),
    (Exponential(0.3, 0.9), lambda k: 0.3 * 0.9**k),
    (Exponential(0.3, 0.5, 7), lambda k: 0.3 * 0.5 ** (k / 7)),
    (Piecewise((10, 25), (0.3, 0.1, 0.2)), lambda k: 0.3 if k < 10 else 0.1 if k < 25 else 0.2),
    (Piecewise((), (0.3,)), lambda k: 0.3),
    (Polynomial(0.3, 0.01, 40), lambda k: 0.3 + (0.01 - 0.3) * hold(k / 40)),
    (Polynomial(0.3, 0.01, 40, power=2.5), lambda k: 0.01 + 0.29 * hold(1 - k / 40) ** 2.5),
    (Cosine(0.3, 40), lambda k: half_cosine(0.3, 0, k / 40)),
    (Cosine(0.3, 40, 0.01), lambda k: half_cosine(0.3, 0.01, k / 40)),
    (LinearWarmup(0.3, 10), lambda k: 0.3 * hold(k / 10)),
    (LinearWarmup(0.3, 10, 0.01), lambda k: 0.01 + 0.29 * hold(k / 10)),
    (LinearWarmup(0.3, 10, then=Cosine(0.3, 30)), lambda k: k * 0.03 if k < 10 else half_cosine(0.3, 0, (k - 10) / 30)),
    (LinearWarmup(0.3, 10, then=InverseSqrt(0.3)), lambda k: k * 0.03 if k < 10 else 0.3 / math.sqrt(k - 9)),
    (
        OneCycle(0.3, 50, rise=0.4, start_factor=10, end_factor=100),
        lambda k: half_cosine(0.03, 0.3, k / 19) if k < 19 else half_cosine(0.3, 0.0003, (k - 19) / 30),
    ),
    (
        Chained((Exponential(0.3, 0.9), InverseSqrt(0.2), Constant(0.1)), (10, 30)),
        lambda k: 0.3 * 0.9**k if k < 10 else 0.2 / math.sqrt(k - 9) if k < 30 else 0.1,
    ),
]


EACH = pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=title)


@EACH
@pytest.mark.parametrize("namespace", [in_numpy, in_jax, in_torch])
def test_formula(schedule, formula, namespace):
    np.testing.assert_allclose(namespace(schedule), [formula(k) for k in range(STEPS)], rtol=1e-12, atol=1e-15)


@EACH
def test_formula_in_keras(schedule, formula):
    """In float32, Keras' own precision: its cosine has no other."""
    keras = pytest.importorskip("keras", reason="keras is an extra")
    ours = [float(schedule(keras.ops.convert_to_tensor(k, "float32"), keras.ops)) for k in range(STEPS)]
    np.testing.assert_allclose(ours, [formula(k) for k in range(STEPS)], rtol=1e-5, atol=1e-7)


def test_every_schedule_has_a_formula():
    ours = {cls for cls in Schedule.__subclasses__() if cls.__module__ == "optiscope.rules.schedules"}
    assert {type(schedule) for schedule, _ in FORMULAS} == ours


def assert_equal(schedule, theirs):
    ours = [schedule(k, np) for k in range(len(theirs))]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def torch_rates(torch, make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.3)
    scheduler = make(torch.optim.lr_scheduler, optimizer)

    def walk():
        while True:
            yield optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()

    return list(islice(walk(), steps))


@pytest.mark.parametrize(
    ("schedule", "make", "steps"),
    [
        (Constant(0.3), lambda s, o: s.ConstantLR(o, factor=1.0), STEPS),
        (Step(0.3, 0.5, 7), lambda s, o: s.StepLR(o, 7, gamma=0.5), STEPS),
        (Piecewise((10, 25), (0.3, 0.03, 0.003)), lambda s, o: s.MultiStepLR(o, [10, 25], gamma=0.1), STEPS),
        (Exponential(0.3, 0.9), lambda s, o: s.ExponentialLR(o, gamma=0.9), STEPS),
        (Polynomial(0.3, 0.0, 40, power=2.0), lambda s, o: s.PolynomialLR(o, total_iters=40, power=2.0), STEPS),
        (Polynomial(0.1, 0.3, 40), lambda s, o: s.LinearLR(o, start_factor=1 / 3, total_iters=40), STEPS),
        (LinearWarmup(0.3, 40, 0.1), lambda s, o: s.LinearLR(o, start_factor=1 / 3, total_iters=40), STEPS),
        # torch's cosine climbs again after its end, and its one cycle refuses to go on.
        (Cosine(0.3, 40, 0.01), lambda s, o: s.CosineAnnealingLR(o, T_max=40, eta_min=0.01), 41),
        (OneCycle(0.3, 50), lambda s, o: s.OneCycleLR(o, max_lr=0.3, total_steps=50), 50),
        (
            OneCycle(0.3, 45, rise=0.37, start_factor=10, end_factor=100),
            lambda s, o: s.OneCycleLR(
                o, max_lr=0.3, total_steps=45, pct_start=0.37, div_factor=10, final_div_factor=100
            ),
            45,
        ),
        (
            Chained((Polynomial(0.03, 0.3, 10), Exponential(0.3, 0.9), Step(0.3, 0.5, 5)), (10, 30)),
            lambda s, o: s.SequentialLR(
                o,
                [s.LinearLR(o, 0.1, total_iters=10), s.ExponentialLR(o, gamma=0.9), s.StepLR(o, 5, gamma=0.5)],
                milestones=[10, 30],
            ),
            STEPS,
        ),
        (
            Chained((Cosine(0.3, 15, 0.01),) * 4, (15, 30, 45)),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=15, eta_min=0.01),
            STEPS,
        ),
    ],
    ids=title,
)
# SequentialLR calls the schedulers it holds with the epoch, which torch has deprecated for everybody else.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_torch(torch, schedule, make, steps):
    assert_equal(schedule, torch_rates(torch, make, steps))


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(0.3), lambda o: o.constant_schedule(0.3)),
        (Exponential(0.3, 0.5, 7), lambda o: o.exponential_decay(0.3, 7, 0.5)),
        (Step(0.3, 0.5, 7), lambda o: o.exponential_decay(0.3, 7, 0.5, staircase=True)),
        (
            Piecewise((10, 25), (0.3, 0.03, 0.06)),
            lambda o: o.piecewise_constant_schedule(0.3, {10: 0.1, 25: 2.0}),
        ),
        (Polynomial(0.3, 0.01, 40), lambda o: o.linear_schedule(0.3, 0.01, 40)),
        (Polynomial(0.3, 0.01, 40, power=2.5), lambda o: o.polynomial_schedule(0.3, 0.01, 2.5, 40)),
        (Cosine(0.3, 40, 0.03), lambda o: o.cosine_decay_schedule(0.3, 40, alpha=0.1)),
        (LinearWarmup(0.3, 10, 0.01), lambda o: o.linear_schedule(0.01, 0.3, 10)),
        (
            LinearWarmup(0.3, 10, 0.01, then=Cosine(0.3, 40, 0.02)),
            lambda o: o.warmup_cosine_decay_schedule(0.01, 0.3, 10, 50, end_value=0.02),
        ),
        (
            Chained((Exponential(0.3, 0.9), Cosine(0.2, 10), Constant(0.1)), (10, 30)),
            lambda o: o.join_schedules(
                [o.exponential_decay(0.3, 1, 0.9), o.cosine_decay_schedule(0.2, 10), o.constant_schedule(0.1)], [10, 30]
            ),
        ),
    ],
    ids=title,
)
def test_optax(schedule, make):
    optax = pytest.importorskip("optax", reason="optax is a development extra")
    assert_equal(schedule, [float(make(optax)(jnp.asarray(k, jnp.float64))) for k in range(STEPS)])


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (InverseTime(0.3, 7 / 0.5), lambda s: s.InverseTimeDecay(0.3, decay_steps=7, decay_rate=0.5)),
        (Exponential(0.3, 0.5, 7), lambda s: s.ExponentialDecay(0.3, 7, 0.5)),
        (Step(0.3, 0.5, 7), lambda s: s.ExponentialDecay(0.3, 7, 0.5, staircase=True)),
        # Keras counts the boundary itself to the piece before it.
        (Piecewise((11, 26), (0.3, 0.1, 0.2)), lambda s: s.PiecewiseConstantDecay([10, 25], [0.3, 0.1, 0.2])),
        (Polynomial(0.3, 0.01, 40, power=2.5), lambda s: s.PolynomialDecay(0.3, 40, 0.01, power=2.5)),
    ],
    ids=title,
)
def test_keras(keras, schedule, make):
    theirs = make(keras.optimizers.schedules)
    assert_equal(schedule, [float(theirs(k)) for k in range(STEPS)])


def test_keras_cosine_with_warmup(keras):
    """Keras takes the cosine in float32."""
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 40, alpha=0.1, warmup_target=0.3, warmup_steps=10)
    ours = in_numpy(LinearWarmup(0.3, 10, 0.01, then=Cosine(0.3, 40, 0.03)))
    np.testing.assert_allclose(ours, [float(theirs(k)) for k in range(STEPS)], rtol=1e-6)


def test_lists_are_tuples():
    assert Piecewise([3, 7], [0.3, 0.2, 0.1]) == Piecewise((3, 7), (0.3, 0.2, 0.1))
    assert Chained([Constant(0.1), Cosine(0.1, 9)], [3]) == Chained((Constant(0.1), Cosine(0.1, 9)), (3,))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Constant(math.nan), "Constant: initial must be a number, not nan"),
        (lambda: InverseTime(0.1, 0), "InverseTime: timescale must be > 0, not 0"),
        (lambda: Step(0.1, 0.5, 0), "Step: every must be > 0, not 0"),
        (lambda: Exponential(0.1, 0.5, -1.0), r"Exponential: scale must be > 0, not -1\.0"),
        (lambda: Polynomial(0.1, 0.0, 0), "Polynomial: steps must be > 0, not 0"),
        (lambda: Cosine(0.1, -5), "Cosine: steps must be > 0, not -5"),
        (lambda: LinearWarmup(0.1, 0), "LinearWarmup: steps must be > 0, not 0"),
        (lambda: OneCycle(0.1, math.nan), "OneCycle: steps must be > 0, not nan"),
        (lambda: Piecewise((10, 20), (0.1,)), "one value more than boundaries, not 1 values for 2 boundaries"),
        (lambda: Piecewise((20, 10), (0.3, 0.2, 0.1)), r"Piecewise: boundaries must rise, not \(20.0, 10.0\)"),
        (lambda: Chained([Constant(0.1)] * 3, [20, 10]), "Chained: boundaries must rise"),
        (lambda: Chained((Constant(0.1),), (10,)), "one schedule more than boundaries, not 1 schedules for 1 boundar"),
    ],
)
def test_refusals(make, sentence):
    with pytest.raises(BadInput, match=sentence):
        make()
