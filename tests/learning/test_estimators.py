"""Every estimator against the exact meta-gradient, on problems where it is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc
from optiscope.lab.drive import cast
from optiscope.learning import PES, Backprop, FullES, Imitation, TruncatedES, train
from optiscope.learning.estimators import estimator
from optiscope.learning.inner import Inner
from optiscope.learning.leaves import leaves

STEPS, STRETCH = 24, 6


def inner(rule, task="quadratic", clamp=None, fields=None):
    return Inner(leaves(cast(rule, "float64"), fields), cast(osc.task(task), "float64"), clamp)


def keys(n, seed=0):
    return jax.random.key_data(jax.random.split(jax.random.key(seed), n))


def exact(system, theta, problems, steps=STEPS):
    """The mean meta-loss over problems, and its gradient."""
    return jax.value_and_grad(lambda x: jnp.mean(jax.vmap(lambda k: system.unrolled(x, k, steps))(problems)))(theta)


def filled(rule):
    """Random weights everywhere, as after some training."""
    draw = np.random.default_rng(2)
    return jax.tree.map(lambda x: 0.3 * draw.normal(size=np.shape(x)) if np.ndim(x) or x == 0 else x, rule)


@pytest.mark.parametrize(
    "rule",
    [
        filled(osc.GRU.untrained(units=3, lr=0.3)),
        filled(osc.LSTM.untrained(units=3, lr=0.3, inputs="log1p")),
        filled(osc.SmallFC.untrained(units=3, lr=0.3)),
        osc.Momentum(lr=0.3),
        osc.Adam(lr=0.3, eps=1e-3),
    ],
    ids=["gru", "lstm", "small-fc", "momentum", "adam"],
)
def test_backpropagation_is_a_central_difference(rule):
    system = inner(rule)
    theta, problems = system.leaves.theta(), keys(4)
    made, _ = Backprop(4).estimate(system, theta, (), problems, None, STEPS)
    draw = np.random.default_rng(1)
    way = jax.tree.map(lambda x: draw.normal(size=np.shape(x)), theta)

    def loss(h):
        return float(exact(system, jax.tree.map(lambda x, d: x + h * d, theta, way), problems)[0])

    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float(jnp.sum(g * d)), made.gradient, way)))
    assert slope != 0
    assert slope == pytest.approx((loss(1e-5) - loss(-1e-5)) / 2e-5, rel=1e-6)
    assert float(made.loss) == pytest.approx(loss(0.0), rel=1e-12)


def lanes_of(made_by, system, theta, problems, stretches, seed):
    """Each lane's gradient by a hyperparameter, averaged over the stretches of one run: shape (lanes,)."""
    n = len(problems)
    states = jax.vmap(lambda key: made_by.begin(system, theta, key, jnp.int32(10**6)))(problems)
    one = lambda state, key: made_by.lane(system, theta, state, key, jnp.int32(10**6), STEPS // stretches)  # noqa: E731
    step, total = jax.jit(jax.vmap(one)), 0
    for k in range(stretches):
        made, states = step(states, keys(n, seed + k))
        total = total + made.gradient["lr"] / stretches
    return np.asarray(total)


@pytest.fixture(scope="module")
def descent():
    """Gradient descent's learning rate in its logarithm, and the exact slope of the meta-loss there."""
    system = inner(osc.GradientDescent(lr=0.5), fields=["lr"])
    theta, problems = system.leaves.theta(), keys(4000)
    slope = exact(system, theta, problems)[1]["lr"]
    return system, theta, problems, float(slope)


def standard_errors(found, slope):
    return abs(found.mean() - slope) / (found.std(ddof=1) / len(found) ** 0.5)


def test_persistent_estimate_is_unbiased_where_the_truncated_one_is_not(descent):
    system, theta, problems, slope = descent
    persistent = lanes_of(PES(4000, sigma=1e-3), system, theta, problems, STEPS // STRETCH, 1)
    truncated = lanes_of(TruncatedES(4000, sigma=1e-3), system, theta, problems, STEPS // STRETCH, 1)
    assert standard_errors(persistent, slope) < 3
    assert standard_errors(truncated, slope) > 10


def test_evolution_strategies_over_the_whole_run_are_the_exact_gradient_as_sigma_falls():
    """On problems of their own, so that both are means over the distribution: the difference is the noise of both."""
    system = inner(osc.GradientDescent(lr=0.5), fields=["lr"])
    theta = system.leaves.theta()
    es = FullES(2000, problems=2, sigma=1e-3)
    found = jax.jit(jax.vmap(lambda key: es.lane(system, theta, (), key, None, STEPS)[0].gradient["lr"]))(keys(2000, 5))
    each = jax.vmap(lambda key: jax.grad(lambda x: system.unrolled(x, key, STEPS))(theta)["lr"])(keys(4000, 6))
    error = np.hypot(np.std(found) / 2000**0.5, np.std(each) / 4000**0.5)
    assert abs(np.mean(found) - np.mean(each)) < 3 * error


def test_imitation_finds_the_teachers_own_settings():
    teacher = osc.Momentum(lr=0.2, momentum=0.8)
    made = train(
        osc.Momentum(lr=0.05, momentum=0.3), osc.task("quadratic"), estimator=Imitation(teacher), steps=800, unroll=40,
        optimizer=osc.Scheduled(osc.Adam(), lr=osc.rules.Cosine(0.05, 800)), fields=["lr", "momentum"], dtype="float64",
        validation=4,
    )  # fmt: skip
    assert made.last.lr == pytest.approx(0.2, rel=1e-3)
    assert made.last.momentum == pytest.approx(0.8, rel=1e-3)


def test_the_loss_of_imitation_is_the_share_of_the_teachers_steps_that_is_missed():
    system, teacher = inner(osc.Momentum(lr=0.1, momentum=0.9)), osc.Momentum(lr=0.2, momentum=0.9)
    made, _ = Imitation(teacher).estimate(system, system.leaves.theta(), (), keys(2), None, STEPS)
    assert float(made.loss) == pytest.approx(0.25)  # half of each step


def test_only_an_elementwise_rule_can_imitate():
    with pytest.raises(osc.BadInput, match="small-fc looks across arrays; only an elementwise rule can imitate"):
        train(osc.SmallFC.untrained(), osc.task("quadratic"), estimator=Imitation(osc.Adam()), steps=1)


def test_a_longer_unroll_in_stretches_begins_anew_at_its_end():
    system = inner(osc.GradientDescent(lr=0.5), fields=["lr"])
    theta = system.leaves.theta()
    pes = PES(1, sigma=1e-3, truncation=5)
    state = pes.begin(system, theta, keys(1)[0], jnp.int32(10))
    _, state = pes.lane(system, theta, state, keys(1, 1)[0], jnp.int32(15), 5)
    assert (int(state.plus.age), int(state.end)) == (5, 10)
    assert float(state.sum["lr"]) != 0
    _, state = pes.lane(system, theta, state, keys(1, 2)[0], jnp.int32(15), 5)
    assert (int(state.plus.age), int(state.end), float(state.sum["lr"])) == (0, 15, 0.0)


def test_clamped_losses_count_no_more_than_the_clamp():
    wild, calm = (inner(osc.GradientDescent(lr=lr), clamp=2.0, fields=["lr"]) for lr in (1e3, 0.5))
    assert float(wild.unrolled(wild.leaves.theta(), keys(1)[0], 200)) == pytest.approx(2 - 1 / 200, rel=1e-9)
    free = dataclasses.replace(calm, clamp=None)
    assert calm.unrolled(calm.leaves.theta(), keys(1)[0], 50) == free.unrolled(free.leaves.theta(), keys(1)[0], 50)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("reinforce", "unknown estimator 'reinforce'; see the four: backprop, es, truncated-es, pes"),
        (PES(sigma=0.0), "PES: sigma must be a finite number > 0, not 0.0"),
        (PES(truncation=0), "PES: truncation must be a whole number ≥ 1, not 0"),
        (FullES(lanes=2.5), "FullES: lanes must be a whole number ≥ 1, not 2.5"),
        (Imitation("adam"), "Imitation: teacher must be a rule, such as osc.Adam\\(\\), not 'adam'"),
        (3, "an estimator is wanted, such as 'pes' or PES"),
    ],
)
def test_bad_input(what, says):
    with pytest.raises(osc.BadInput, match=says):
        estimator(what)
