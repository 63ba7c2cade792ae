"""The optax front: equal to optax, inside all that optax has to put around a transformation, and back again."""

import inspect
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

import optiscope as osc
from optiscope.frameworks import optax as front
from optiscope.frameworks.numpy import minimize
from optiscope.frameworks.optax import factory, from_optax, transform
from optiscope.values import static

STEPS = 200
RNG = np.random.default_rng(0)
START = {"w": RNG.normal(size=(2, 3)), "b": RNG.normal(size=3), "c": np.array(1.5), "none": None}
NOISE = {name: None if x is None else RNG.normal(size=(STEPS, *x.shape)) for name, x in START.items()}


def walk(tx, begin=0, end=STEPS, at=None):
    """The parameters after each step along the noisy gradients z + x / 2 of a quadratic, and where it all ended."""

    def step(carry, z):
        params, state = carry
        grads = jax.tree.map(lambda z, p: z + p / 2, z, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jax.tree.map(jnp.asarray, START)
    at = (params, tx.init(params)) if at is None else at
    end_of_it, path = jax.jit(partial(jax.lax.scan, step))(at, jax.tree.map(lambda z: z[begin:end], NOISE))
    return path, end_of_it


def assert_same(ours, theirs, tolerance=1e-12):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def every_rule():
    for name in osc.rules.names():
        yield osc.rule(name)
    yield osc.ClipByNorm(osc.Adam(), 0.7)
    yield osc.WeightDecay(osc.L2(osc.Momentum(), 0.1), 0.1)
    yield osc.Scheduled(osc.Adam(), lr=osc.InverseSqrt(0.1), b1=osc.Cosine(0.9, 50, 0.5))


def name_of(case):
    return "-".join(map(str, case)) if isinstance(case, tuple) else case.name


each_rule = pytest.mark.parametrize("rule", [*every_rule()], ids=name_of)


@each_rule
def test_a_rule_goes_where_the_numpy_front_goes(rule):
    steps = iter(range(100))
    start = {name: x for name, x in START.items() if x is not None}

    def grad(x):
        k = next(steps)
        return {name: NOISE[name][k] + x[name] / 2 for name in x}

    theirs = minimize(None, grad, start, rule, 100).x
    (ours, _) = walk(transform(rule), end=100)[1]
    for name in start:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-12)


MASK = {"w": True, "b": False, "c": True, "none": None}
KINDS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sign_sgd", {}),
    ("signum", {"beta": 0.8}),
    ("adagrad", {}),
    ("adagrad", {"initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("adadelta", {}),
    ("adadelta", {"rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "weight_decay_mask": MASK}),
    ("rmsprop", {}),
    ("rmsprop", {"decay": 0.8, "eps": 1e-3, "initial_scale": 0.3, "eps_in_sqrt": False}),
    ("rmsprop", {"momentum": 0.9, "centered": True, "nesterov": True}),
    ("rmsprop", {"bias_correction": True}),
    ("adam", {}),
    ("adam", {"b1": 0.8, "b2": 0.99, "eps": 1e-3, "eps_root": 1e-3}),
    ("adam", {"nesterov": True}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.1, "mask": MASK, "eps_root": 1e-3}),
    ("adamw", {"weight_decay": 0.1, "mask": lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree), "nesterov": True}),
    ("adamw", {"weight_decay": optax.linear_schedule(0.1, 0.0, 100)}),
    ("amsgrad", {}),
    ("amsgrad", {"bias_correction_mu": False, "bias_correction_nu": False}),
    ("adamax", {}),
    ("adamaxw", {"weight_decay": 0.1, "mask": MASK}),
    ("nadam", {"eps_root": 1e-3}),
    ("nadamw", {"weight_decay": 0.1}),
    ("lion", {}),
    ("lion", {"b1": 0.8, "weight_decay": 0.1, "mask": MASK}),
    ("radam", {"threshold": 4.5, "eps_root": 1e-3}),
]
LR = optax.piecewise_constant_schedule(0.01, {70: 0.3, 130: 7.0})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{'-'.join(kind[1])}")
def test_the_ready_made_go_where_the_originals_go(kind):
    """Over 200 steps, the learning rate changed twice, ours resumed in the middle from its flattened state."""
    name, settings = kind
    ours, theirs = (getattr(made, name)(LR, **settings) for made in (front, optax))
    first, (params, state) = walk(ours, 0, 100)
    leaves, tree = jax.tree.flatten((params, state))
    resumed = tree.unflatten([jnp.asarray(np.asarray(leaf)) for leaf in leaves])
    second, _ = walk(ours, 100, 200, resumed)
    path = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
    assert_same(path, walk(theirs)[0])


def test_adadelta_without_a_learning_rate_climbs_as_optax_does():
    assert_same(walk(front.adadelta(), end=20)[0], walk(optax.adadelta(), end=20)[0])


@pytest.mark.parametrize("name", sorted({name for name, _ in KINDS}))
def test_signatures_and_defaults_are_optax_own(name):
    def plain(made):
        return [(p.name, p.default, p.kind) for p in inspect.signature(made).parameters.values()]

    assert plain(getattr(front, name)) == plain(getattr(optax, name))


def test_any_number_may_follow_an_optax_schedule_or_one_of_ours():
    b1 = optax.linear_schedule(0.9, 0.5, 50)
    theirs = osc.Scheduled(osc.Adam(), b1=osc.Polynomial(0.9, 0.5, 50), lr=osc.InverseSqrt(0.1))
    ours = transform(osc.Adam(), b1=b1, lr=osc.InverseSqrt(0.1))
    assert_same(walk(ours, end=60)[0], walk(transform(theirs), end=60)[0], 1e-6)  # optax's line is of float32
    assert_same(walk(transform(osc.Adam(), lr=0.3), end=9)[0], walk(transform(osc.Adam(lr=0.3)), end=9)[0])


SMALL = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
GRADS = {"w": jnp.full((2, 3), 0.5), "b": jnp.array([1.0, -2.0, 3.0])}
AROUND = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx, optax.scale(0.5)),
    "masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "partition": lambda tx: optax.partition({"a": tx, "z": optax.set_to_zero()}, {"w": "a", "b": "z"}),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "flatten": lambda tx: optax.flatten(tx),
}


def steps_of(tx, count=5, grads=GRADS):
    state = tx.init(SMALL)
    update, params = jax.jit(tx.update), SMALL
    for _ in range(count):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("around", AROUND)
def test_inside_what_optax_puts_around(around):
    wrap = AROUND[around]
    assert_same(steps_of(wrap(transform(osc.Adam(lr=0.1)))), steps_of(wrap(optax.adam(0.1))), 1e-12)


def test_apply_if_finite_skips_what_is_not():
    broken = {"w": GRADS["w"] * jnp.nan, "b": GRADS["b"]}
    assert_same(steps_of(optax.apply_if_finite(transform(osc.Adam()), 9), grads=broken), SMALL, 0)


@each_rule
def test_tree_map_params_finds_the_states_of_parameters(rule):
    tx = transform(rule)
    state = tx.init(SMALL)
    marked = optax.tree.map_params(tx, lambda x: x + 1, state)
    assert marked.count == 0
    assert_same(marked.slots, jax.tree.map(lambda x: x + 1, state.slots))


def test_hyperparameters_are_injected():
    tx = optax.inject_hyperparams(factory(osc.Adam()))(lr=LR, eps=1e-3)
    assert_same(walk(tx)[0], walk(optax.adam(LR, eps=1e-3))[0])
    state = tx.init(SMALL)
    assert {"lr", "b1", "b2", "eps"} <= state.hyperparams.keys()
    still = optax.inject_hyperparams(front.adam)(learning_rate=0.1)
    state = still.init(SMALL)
    state.hyperparams["learning_rate"] = jnp.array(0.0)
    updates, _ = still.update(GRADS, state, SMALL)
    assert_same(updates, jax.tree.map(jnp.zeros_like, SMALL), 0)


def test_hyperparameters_of_a_rule_inside_are_injected():
    rule = osc.Scheduled(osc.WeightDecay(osc.ClipByNorm(osc.Adam(), 9.0)), weight_decay=osc.Constant(0.0))
    tx = optax.inject_hyperparams(factory(rule))(lr=LR, limit=1.0)
    assert_same(walk(tx)[0], walk(transform(rule, lr=LR, limit=1.0))[0])
    assert tx.init(SMALL).hyperparams.keys() == {"lr", "b1", "b2", "eps", "limit"}


def test_pythons_numbers_are_parameters():
    params, grads = {"a": 1.0, "b": 2}, {"a": 0.5, "b": 0.25}
    ours, theirs = (tx.update(grads, tx.init(params), params)[0] for tx in (front.sgd(0.1), optax.sgd(0.1)))
    for name in params:
        np.testing.assert_allclose(ours[name], theirs[name])


def test_state_goes_by_optaxs_names():
    state = front.adam(0.1, mu_dtype=jnp.bfloat16).init(SMALL)
    assert state.slots.keys() == {"mu", "nu"}
    assert {x.dtype for x in jax.tree.leaves(optax.tree.get(state, "mu"))} == {jnp.dtype("bfloat16")}
    assert optax.tree.get(state, "count") == 0


def test_a_gradient_of_none_moves_and_remembers_nothing():
    tx = front.adam(0.1)
    state = tx.init(SMALL)
    updates, state = tx.update({"w": GRADS["w"], "b": None}, state, SMALL)
    assert updates["b"] is None
    assert_same(state.slots["mu"]["b"], jnp.zeros(3), 0)


@pytest.mark.parametrize("rule", [osc.Adam(lr=0.1), osc.Nadam(), osc.ClipByNorm(osc.Momentum(), 1.0)], ids=name_of)
def test_a_complex_parameter_is_its_real_and_imaginary_parts(rule):
    z, g = jnp.array([1.0 + 2.0j, 3.0 - 1.0j]), jnp.array([0.3 - 1.0j, 2.0 + 0.5j])
    tx = transform(rule)
    state = tx.init(z)
    for x in jax.tree.leaves(state.slots):
        assert x.dtype == z.dtype or x.ndim == 0
    pair, pair_state = jnp.stack([z.real, z.imag], -1), tx.init(jnp.stack([z.real, z.imag], -1))
    for _ in range(5):
        step, state = tx.update(g, state, z)
        pair_step, pair_state = tx.update(jnp.stack([g.real, g.imag], -1), pair_state, pair)
        assert_same(step, jax.lax.complex(pair_step[..., 0], pair_step[..., 1]))
        z, pair = z + step, pair + pair_step
    if rule.elementwise:  # optax's own wrapper has two arrays, and a norm is of both
        parts = optax.contrib.split_real_and_imaginary(tx)
        assert_same(tx.update(g, tx.init(z), z)[0], parts.update(g, parts.init(z), z)[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@each_rule
def test_updates_and_state_keep_their_dtypes_beside_a_wide_learning_rate(rule, dtype):
    tx = transform(rule)
    params = jnp.ones(3, dtype)
    state = tx.init(params)
    updates, new = jax.jit(tx.update)(params, state, params)
    assert updates.dtype == dtype
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_donated_buffers_and_no_second_compilation():
    tx, traced = front.adamw(LR), []

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        traced.append(1)
        updates, state = tx.update(GRADS, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.copy, SMALL)
    state = tx.init(params)
    for _ in range(3):
        given = params
        params, state = step(params, state)
        assert given["w"].is_deleted()
    assert len(traced) == 1


def test_vmap_over_learning_rates_is_a_loop():
    def end(lr):
        return walk(transform(osc.Adam(lr=lr)), end=20)[1][0]

    rates = jnp.array([0.1, 0.01, 0.001])
    together = jax.vmap(end)(rates)
    for i, lr in enumerate(rates):
        assert_same(jax.tree.map(lambda x, i=i: x[i], together), end(lr))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, optax
from functools import partial
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import optiscope as osc
from optiscope.frameworks.optax import transform

tx = transform(osc.Adam(lr=0.1))
params, grads = jnp.arange(8.0), jnp.linspace(-1, 1, 8)
def two(params, grads):
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params
alone = two(params, grads)
mesh = Mesh(np.array(jax.devices()), ("d",))
split = jax.jit(jax.shard_map(two, mesh=mesh, in_specs=(P("d"), P("d")), out_specs=P("d")))(params, grads)
np.testing.assert_allclose(split, alone, rtol=1e-6)
np.testing.assert_allclose(jax.pmap(two)(params.reshape(2, 4), grads.reshape(2, 4)).ravel(), alone, rtol=1e-6)
placed = jax.device_put(params, NamedSharding(mesh, P("d")))
state = tx.init(placed)
assert state.slots["mu"].sharding == placed.sharding, state.slots["mu"].sharding
updates, state = jax.jit(tx.update)(jax.device_put(grads, placed.sharding), state, placed)
assert state.slots["mu"].sharding.is_equivalent_to(placed.sharding, 1)
"""


def test_two_devices():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_checkpoints_round_trip(tmp_path):
    tx = transform(osc.NAdamW(psi=0.004))
    _, (params, state) = walk(tx, 0, 10)
    empty = tx.init(jax.tree.map(jnp.asarray, START))
    packed = serialization.from_bytes(empty, serialization.to_bytes(state))
    assert_same(packed, jax.tree.map(np.asarray, state), 0)

    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", empty)
    assert_same(restored, state, 0)
    assert_same(walk(tx, 10, 20, (params, restored))[0], walk(tx, 10, 20, (params, state))[0], 0)


X = jnp.asarray(RNG.normal(size=(32, 3)))
Y = jnp.sin(X).sum(1, keepdims=True)


def test_flax_trains():
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    optimizer = nnx.Optimizer(model, transform(osc.AdamW(lr=0.05)), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(X) - Y) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(100)]
    assert losses[-1] < 0.3 * losses[0]


def test_equinox_trains():
    model = eqx.nn.MLP(3, 1, 8, 1, key=jax.random.key(0))
    tx = transform(osc.Adam(lr=0.02))
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        loss, grads = eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(X) - Y) ** 2))(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(60):
        model, state, loss = step(model, state)
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


FOREIGN = {
    "adam": lambda: optax.adam(0.01),
    "lion with a schedule": lambda: optax.lion(optax.cosine_decay_schedule(0.01, 30)),
    "noise": lambda: optax.noisy_sgd(1e-3, key=0),
    "guarded": lambda: optax.apply_if_finite(optax.inject_hyperparams(optax.adamw)(0.01), 3),
    "ours": lambda: transform(osc.Nadam()),
    "counting": lambda: optax.GradientTransformation(
        lambda params: {"n": 0}, lambda g, state, params=None: (-1e-3 * g / (1 + state["n"]), {"n": state["n"] + 1})
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_optax_transformation_runs_in_the_lab(name):
    tx = FOREIGN[name]()
    runs = osc.run(from_optax(tx, name), osc.task("rosenbrock"), steps=30, seeds=3, record=["params", "states"])
    problem = osc.task("rosenbrock").sample(jax.random.key(0))
    assert np.isfinite(runs.loss).all()
    params = jnp.asarray(runs.params[0, 0])
    state = tx.init(params)
    for k in range(30):
        np.testing.assert_allclose(runs.params[0, k], params, rtol=1e-4)
        grads = jax.grad(problem.loss)(params, None)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)


def test_a_foreign_rule_competes_beside_its_twin_under_its_name():
    compared = osc.compare([from_optax(optax.adam(0.01), "theirs"), "adam:lr=0.01"], osc.task("rosenbrock"), steps=20)
    first, second = compared.entries
    assert {first.contender.label, second.contender.label} == {"theirs", "adam:lr=0.01"}
    np.testing.assert_allclose(first.runs.loss, second.runs.loss, rtol=1e-2)  # of float32, and near 0


def test_a_rule_and_back_is_the_rule():
    assert_same(walk(transform(from_optax(front.adam(LR))), end=50)[0], walk(front.adam(LR), end=50)[0])


@osc.rule
class Looking(osc.Rule):
    """A rule that reads the parameter in a way of its own: it needs to be told how, so it is not listed."""

    look: Any = static()

    def init(self, param, xp):
        return {}

    def update(self, grad, state, param, t, xp):
        return -grad * self.look(param), {}


def test_bad_input_is_refused_in_a_sentence():
    def refused(match, make, *given, **settings):
        with pytest.raises(osc.BadInput, match=match):
            make(*given, **settings)

    refused("transform takes a rule, such as osc.Adam", transform, optax.adam(0.1))
    refused("unknown field of adam 'beta'", transform, osc.Adam(), beta=0.9)
    refused("unknown field of adam 'beta'", transform, osc.Adam(), beta=optax.constant_schedule(0.9))
    refused("adam: b1 must be a number in", front.adam, 0.1, b1=1.5)
    refused(
        "lr follows a schedule of scheduled's own", transform, osc.Scheduled(osc.Adam(), lr=osc.Constant(0.1)), lr=1
    )
    refused("factory takes a rule", factory, "adam")
    refused("dtypes names 'mu'; the state of adam has m, v", transform, osc.Adam(), dtypes={"mu": "bfloat16"})
    refused("amsgrad corrects both moments or neither", front.amsgrad, 0.1, bias_correction_mu=False)
    refused("radam has no nesterov=True", front.radam, 0.1, nesterov=True)
    refused("from_optax takes an optax transformation", from_optax, osc.Adam())
    ahead = optax.lookahead(optax.sgd(0.1), 5, 0.5)
    refused("'ahead' needs more than a gradient", from_optax, ahead, "ahead")
    refused("'polyak' needs more than a gradient .* 'value'", from_optax, optax.polyak_sgd(), "polyak")
    tx, another = transform(osc.Adam()), transform(osc.Momentum()).init(SMALL)
    refused("a state of adam has mu, nu, and this one trace; init makes it", tx.update, GRADS, another)
    refused("a state of adam has mu, nu, and this one the form dict", tx.update, GRADS, {})
    for tx in (transform(osc.AdamW()), transform(osc.L2(osc.Adam()))):
        refused("reads the parameters: call update", tx.update, GRADS, tx.init(SMALL))
    for look in (lambda p: p**2, lambda p: 1 / p, abs, lambda p: p[0], lambda p: p > 0, jnp.sqrt):
        tx = transform(Looking(look))
        refused("looking reads the parameters: call update", tx.update, GRADS, tx.init(SMALL))
    transform(osc.Adam()).update(GRADS, transform(osc.Adam()).init(SMALL))


THEIRS = Path(optax.__file__).parent / "_src" / "alias_test.py"


def theirs_passed(which):
    """How many of optax's own tests of its optimizers pass over ours, where none may fail."""
    if not THEIRS.exists():
        pytest.skip("this optax comes without its tests")
    pytest.importorskip("sklearn", reason="optax's tests import it")
    plain = ["-c", os.devnull, "-p", "no:cacheprovider", "-p", "optax_peers", "-q", "--tb=short"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "pytest", *plain, "-k", f"AliasTest and ({which})", str(THEIRS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return int(done.stdout.split(" passed")[0].split()[-1])


def test_optaxs_own_tests():
    assert theirs_passed("accept_extra_args or inject_hyperparams or explicit_dtype or preserve_dtype") > 90


@pytest.mark.slow
def test_optaxs_own_tests_that_are_long():
    assert theirs_passed("test_optimization or gradient_accumulation or stability") > 150
