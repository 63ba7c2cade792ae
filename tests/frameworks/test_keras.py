"""The Keras front, on the backend that is set: `test_keras_backends.py` runs this file on the others."""

import inspect
import json
import os
import pickle

import keras
import numpy as np
import pytest

import optiscope as osc
from optiscope.frameworks import keras as front
from optiscope.frameworks.keras import Optimizer, get
from optiscope.frameworks.numpy import minimize

# Keras's variables do not know the argument that NumPy 2 gave to __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ops = keras.ops
BACKEND = keras.backend.backend()
STEPS = int(os.environ.get("OPTISCOPE_STEPS", "200"))

RNG = np.random.default_rng(0)
START = {"w": RNG.normal(size=(2, 3)), "bias": RNG.normal(size=3), "gain": np.array(1.5)}
NOISE = {name: RNG.normal(size=(STEPS, *x.shape)) for name, x in START.items()}


@pytest.fixture(autouse=True)
def _float64():
    """In Keras the learning rate is of the default dtype, whatever the variables are of."""
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


class Walk:
    """A model of three variables and its optimizer, led along noisy gradients z + x / 2 of a quadratic.

    On JAX a step is compiled: run eagerly, Keras's accumulation of gradients compiles anew at every step.
    """

    def __init__(self, optimizer, dtype="float64", start=START):
        self.optimizer = optimizer
        self.variables = [keras.Variable(x, dtype=dtype, name=name) for name, x in start.items()]
        optimizer.build(self.variables)
        if BACKEND == "jax":
            import jax

            self.stateless = jax.jit(optimizer.stateless_apply)

    def run(self, begin, end):
        for k in range(begin, end):
            grads = [
                ops.convert_to_tensor(NOISE[v.name][k], v.dtype) + ops.convert_to_tensor(v) / 2 for v in self.variables
            ]
            if BACKEND == "jax":
                state = [v.value for v in self.optimizer.variables], grads, [v.value for v in self.variables]
                moved, kept = self.stateless(*state)
                for v, x in zip([*self.variables, *self.optimizer.variables], [*moved, *kept], strict=True):
                    v.assign(x)
            else:
                self.optimizer.apply(grads, self.variables)
        return self

    @property
    def at(self):
        return [ops.convert_to_numpy(v) for v in self.variables]


def assert_near(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def every_rule():
    for name in osc.rules.names():
        yield osc.rule(name)
    yield osc.ClipByNorm(osc.Adam(), 0.7)
    yield osc.WeightDecay(osc.L2(osc.Momentum(), 0.1), 0.1)
    yield osc.Scheduled(osc.Adam(), lr=osc.InverseSqrt(0.1), b1=osc.Exponential(0.9, 0.99))
    for network in (osc.GRU, osc.LSTM, osc.VanillaRNN, osc.LinearSystem):
        rule = network.untrained(units=3, layers=2, inputs="log1p", lr=0.1)
        yield rule.replace(readout={"w": np.array([0.7, -0.2, 0.4]), "b": np.array([0.01])})
    yield osc.SmallFC.untrained(units=3)


def name_of(case):
    return case if isinstance(case, str) else "-".join(map(str, case)) if isinstance(case, tuple) else case.name


@pytest.mark.parametrize("rule", [*every_rule()], ids=name_of)
def test_a_rule_goes_where_the_numpy_front_goes(rule):
    steps = min(STEPS, 100)
    noise = iter(range(steps))

    def grad(x):
        k = next(noise)
        return {name: NOISE[name][k] + x[name] / 2 for name in x}

    walk = Walk(Optimizer(rule)).run(0, steps)
    assert_near(walk.at, minimize(None, grad, START, rule, steps).x.values())


KINDS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.3, "epsilon": 1e-3}),
    ("Adadelta", {}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adam", {}),
    ("Adam", {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True}),
    ("Adamax", {}),
    ("Nadam", {}),
    ("Lion", {}),
]
AROUND = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "clip and average": {"clipnorm": 0.5, "use_ema": True, "ema_overwrite_frequency": 7},
    "global clip": {"global_clipnorm": 0.5},
    "accumulate": {"gradient_accumulation_steps": 3, "loss_scale_factor": 8.0},
}


def walk_of(make, settings):
    """200 steps with the learning rate changed twice, the bias out of weight decay's reach."""
    optimizer = make(learning_rate=0.01, **settings)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    walk = Walk(optimizer).run(0, STEPS // 3)
    optimizer.learning_rate = 0.003
    walk.run(STEPS // 3, STEPS // 2)
    optimizer.learning_rate = 0.02
    return walk.run(STEPS // 2, STEPS)


PAIRS = [(kind, around) for kind in KINDS for around in ("plain", "decay")]
PAIRS += [(KINDS[i], around) for i in (1, 8) for around in AROUND if around not in ("plain", "decay")]


@pytest.mark.parametrize(("kind", "around"), PAIRS, ids=name_of)
def test_the_ready_made_go_where_the_originals_go(kind, around):
    name, settings = kind
    settings = {**settings, **AROUND[around]}
    ours = walk_of(getattr(front, name), settings)
    theirs = walk_of(getattr(keras.optimizers, name), settings)
    # On TensorFlow the originals turn Python's numbers into float32, even beside float64 variables.
    assert_near(ours.at, theirs.at, 1e-5 if BACKEND == "tensorflow" else 1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_training_resumes_from_saved_weights(kind):
    name, settings = kind
    whole = Walk(getattr(front, name)(**settings)).run(0, 10)
    half = Walk(getattr(front, name)(**settings)).run(0, 5)
    saved = [ops.convert_to_numpy(v) for v in half.optimizer.variables]
    config = json.loads(json.dumps(half.optimizer.get_config()))
    resumed = Walk(type(half.optimizer).from_config(config), start=dict(zip(START, half.at, strict=True)))
    resumed.optimizer.set_weights(saved)
    assert_near(resumed.run(5, 10).at, whole.at, 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] != "Nadam"], ids=name_of)
def test_an_originals_weights_load(kind):
    """Keras's Nadam does not save all of its state."""
    name, settings = kind
    original = Walk(getattr(keras.optimizers, name)(**settings)).run(0, 5)
    ours = Walk(getattr(front, name)(**settings), start=dict(zip(START, original.at, strict=True)))
    ours.optimizer.set_weights([ops.convert_to_numpy(v) for v in original.optimizer.variables])
    assert_near(ours.run(5, 10).at, original.run(5, 10).at, 1e-5 if BACKEND == "tensorflow" else 1e-12)


@pytest.mark.parametrize("name", sorted({name for name, _ in KINDS}))
def test_signatures_and_defaults_are_keras_own(name):
    ours, theirs = getattr(front, name), getattr(keras.optimizers, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    defaults = {
        each: p.default for each, p in inspect.signature(theirs).parameters.items() if p.kind is not p.VAR_KEYWORD
    }
    for made in (ours(), ours(*defaults.values()), ours.from_config(ours().get_config())):
        assert {**made.get_config(), "name": None} == {**theirs().get_config(), "name": None}


@pytest.mark.parametrize(
    ("name", "written"),
    [("Adam", {"beta_1": 0.5}), ("SGD", {"momentum": 0.3}), ("RMSprop", {"rho": 0.5, "epsilon": 0.1})],
)
def test_what_is_written_to_an_attribute_holds_as_in_keras(name, written):
    settings = {"momentum": 0.9} if name == "SGD" else {}
    ends = []
    for module in (front, keras.optimizers):
        optimizer = getattr(module, name)(**settings)
        for attribute, value in written.items():
            setattr(optimizer, attribute, value)
        assert written.items() <= optimizer.get_config().items()
        ends.append(Walk(optimizer).run(0, 10).at)
    assert_near(*ends, 1e-5 if BACKEND == "tensorflow" else 1e-12)


def test_an_attribute_that_needs_another_state_is_refused():
    optimizer = front.SGD()
    with pytest.raises(osc.BadInput, match="needs another state; make a new SGD with it"):
        optimizer.momentum = 0.9
    assert optimizer.momentum == 0.0


@pytest.fixture
def _layers():
    """Keras's own layers add biases of a lower rank, in float32."""
    keras.config.set_floatx("float32")
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.numpy_rank_promotion("allow"):
        yield


uses_layers = pytest.mark.usefixtures("_layers")


def model_of(optimizer, **compiling):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse", **compiling)
    return model


DATA = (RNG.normal(size=(64, 3)).astype("float32"), RNG.normal(size=(64, 1)).astype("float32"))


@uses_layers
def test_fit_is_the_originals():
    def losses(optimizer):
        return model_of(optimizer).fit(*DATA, epochs=3, batch_size=16, shuffle=False, verbose=0).history["loss"]

    np.testing.assert_allclose(losses(front.Adam(0.01)), losses(keras.optimizers.Adam(0.01)), rtol=1e-5)
    assert losses(Optimizer(osc.Adam(lr=0.01)))[-1] < losses(Optimizer(osc.Adam(lr=1e-4)))[-1]


RULES_WITHIN = [
    osc.Adam(lr=0.01),
    osc.Scheduled(osc.ClipByNorm(osc.Nadam()), lr=osc.Piecewise((3, 7), (0.1, 0.05, 0.01)), limit=osc.Constant(0.5)),
    osc.WeightDecay(osc.Momentum(lr_in="velocity"), 0.1),
]


@uses_layers
@pytest.mark.parametrize("rule", RULES_WITHIN, ids=name_of)
def test_a_saved_model_goes_on_where_it_was(rule, tmp_path):
    model = model_of(Optimizer(rule))
    model.fit(*DATA, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, Optimizer)
    assert again.optimizer.rule == rule
    ways = [m.fit(*DATA, epochs=2, shuffle=False, verbose=0).history["loss"] for m in (model, again)]
    assert ways[0] == ways[1]


@uses_layers
def test_a_schedule_a_callback_and_a_function_set_the_learning_rate():
    decaying = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    walk = Walk(Optimizer(osc.GradientDescent(), decaying)).run(0, 2)
    own = osc.Scheduled(osc.GradientDescent(), lr=osc.Exponential(0.1, 0.5))
    assert_near(walk.at, Walk(Optimizer(own)).run(0, 2).at, 1e-6)
    assert_near(
        Walk(Optimizer(osc.Adam(), lambda: 0.1)).run(0, 3).at, Walk(front.Adam(0.1, epsilon=1e-8)).run(0, 3).at, 1e-5
    )

    model = model_of(Optimizer(osc.Adam(lr=0.01)))
    model.fit(*DATA, epochs=2, verbose=0, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2)])
    assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0025)


def test_the_legacy_decay_divides_the_learning_rate_by_one_plus_decay_times_steps():
    walk = Walk(front.SGD(0.1, decay=0.5)).run(0, 5)
    own = osc.Scheduled(osc.GradientDescent(), lr=osc.InverseTime(0.1, 2.0))
    assert_near(walk.at, Walk(Optimizer(own)).run(0, 5).at, 1e-6)
    config = walk.optimizer.get_config()
    assert_near(Walk(front.SGD.from_config(config)).run(0, 5).at, walk.at, 0)


@uses_layers
@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_an_embedding_trains_as_with_the_originals(name):
    """On TensorFlow its gradient holds the rows that a batch has met: once, for Keras squares a row's parts apart."""

    def losses(optimizer):
        keras.utils.set_random_seed(0)
        table = keras.layers.Embedding(40, 4)
        model = keras.Sequential([keras.Input((2,), dtype="int32"), table, keras.layers.Flatten()])
        model.add(keras.layers.Dense(1))
        model.compile(optimizer=optimizer, loss="mse")
        rows = np.arange(128).reshape(64, 2) % 40
        return model.fit(rows, DATA[1], epochs=2, batch_size=16, shuffle=False, verbose=0).history["loss"]

    ours, theirs = (losses(getattr(made, name)(0.01)) for made in (front, keras.optimizers))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@uses_layers
def test_loss_scaling_and_half_precision():
    inner = Optimizer(osc.Adam(lr=0.01))
    model = model_of(keras.optimizers.LossScaleOptimizer(inner))
    losses = model.fit(*DATA, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    narrow = Walk(Optimizer(osc.Adam(lr=0.01)), "bfloat16").run(0, 20)
    wide = Walk(Optimizer(osc.Adam(lr=0.01)), "float32").run(0, 20)
    assert all(v.dtype == "bfloat16" for v in narrow.variables)
    assert_near([np.asarray(x, "float64") for x in narrow.at], wide.at, 0.05)


@pytest.mark.parametrize(
    "decaying",
    [
        osc.WeightDecay(osc.L2(osc.Adam(), 0.1), 0.1),
        osc.Scheduled(osc.WeightDecay(osc.Adam()), weight_decay=osc.Constant(0.1)),
    ],
    ids=name_of,
)
def test_weights_excluded_from_decay_are_excluded_from_the_rules_own(decaying):
    optimizer = Optimizer(decaying)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    excluded, plain = Walk(optimizer).run(0, 5).at, Walk(Optimizer(osc.Adam())).run(0, 5).at
    np.testing.assert_allclose(excluded[1], plain[1], rtol=1e-12)
    assert abs(excluded[0] - plain[0]).max() > 1e-4


def test_an_optimizer_pickles():
    keras.config.set_floatx("float32")
    again = pickle.loads(pickle.dumps(front.Adam(0.3, beta_1=0.8)))
    assert again.get_config() == front.Adam(0.3, beta_1=0.8, name=again.name).get_config()


@osc.rule
class Mixed(osc.rules.Rule):
    """A rule with arrays for leaves, as a learned one has: it needs its weights, so it is not listed."""

    weights: dict
    lr: float = osc.rules.hyper(0.1, osc.rules.LogUniform(1e-6, 1e1))

    def init(self, param, xp):
        return {"h": xp.stack([xp.zeros_like(param)] * 2, -1)}

    def update(self, grad, state, param, t, xp):
        h = 0.9 * state["h"] + xp.stack([grad, grad * grad], -1)
        w = self.weights["w"]
        return -self.lr * (w[0] * h[..., 0] + w[1] * h[..., 1]), {"h": h}


def test_a_rule_with_arrays_of_its_own_and_a_wider_state():
    rule = Mixed({"w": np.array([0.7, 0.3])})
    noise = iter(range(9))

    def grad(x):
        k = next(noise)
        return {name: NOISE[name][k] + x[name] / 2 for name in x}

    walk = Walk(Optimizer(rule)).run(0, 9)
    assert_near(walk.at, minimize(None, grad, START, rule, 9).x.values())
    again = Optimizer.from_config(json.loads(json.dumps(walk.optimizer.get_config())))
    assert_near(Walk(again).run(0, 9).at, walk.at, 0)


def test_names_give_optimizers():
    for name, made in {"adam": front.Adam, "RMSprop": front.RMSprop, "sgd": front.SGD}.items():
        assert type(get(name)) is made
    assert get("amsgrad").rule == osc.AMSGrad()
    assert get(osc.Momentum()).rule == osc.Momentum()
    held = front.Adam(0.3)
    assert get(held) is held
    again = get(keras.optimizers.serialize(held))
    assert type(again) is front.Adam
    assert again.get_config() == held.get_config()


SCHEDULED = osc.Scheduled(osc.Adam(), lr=osc.Constant(0.1))


def test_bad_input_is_refused_in_a_sentence():
    def refused(match, make, *given, **settings):
        with pytest.raises(osc.BadInput, match=match):
            make(*given, **settings)

    refused("unknown optimizer 'adan'; did you mean 'adam'", get, "adan")
    refused("takes a rule, such as osc.Adam", Optimizer, "adam")
    refused(
        "scheduled has no lr for Keras to set, so that it takes no learning_rate, not 0.1", Optimizer, SCHEDULED, 0.1
    )
    refused("takes no weight_decay, not 0.2", Optimizer, SCHEDULED, weight_decay=0.2)
    refused("no lr for Keras to set to 0.5", setattr, Optimizer(SCHEDULED), "learning_rate", 0.5)
    refused("adam: b1 must be a number in", front.Adam, beta_1=1.5)
    refused("AdamW needs a weight_decay", front.AdamW, weight_decay=None)
    refused("decay=0.1 divides a learning rate that is a number", front.SGD, lambda: 0.1, decay=0.1)
    config = Optimizer(osc.Adam()).get_config()
    config["rule"]["class"] = "nonesuch"
    refused("unknown rule or schedule 'nonesuch'", Optimizer.from_config, config)
    keras.config.set_floatx("float32")
    with pytest.raises(ValueError, match="learning_rate"):
        front.Adam(1)
