"""Learned rules: the formulas, and one answer in every namespace and front."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import optiscope as osc
from optiscope.frameworks.numpy import iterate
from optiscope.frameworks.optax import transform
from optiscope.frameworks.torch import Optimizer

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(30, 2, 3))
START = RNG.normal(size=(2, 3))


def trained(cls, **settings):
    """A rule whose every weight is random, as if it had been trained."""
    rule = cls.untrained(**{"units": 5, **settings})
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda x: 0.4 * draw.normal(size=np.shape(x)) if np.ndim(x) or x == 0 else x, rule)


RULES = {
    "gru": trained(osc.GRU, lr=0.1),
    "gru-log1p": trained(osc.GRU, inputs="log1p", layers=2, lr=0.1),
    "lstm": trained(osc.LSTM, layers=2, lr=0.1),
    "rnn": trained(osc.VanillaRNN, gain=3.0, lr=0.1),
    "lds": trained(osc.LinearSystem, lr=0.1),
    "small-fc": trained(osc.SmallFC, lr=0.1),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def in_numpy(rule, start=START, noise=NOISE):
    rest = iter(noise)
    walk = iterate(lambda x: x + next(rest), start, rule)
    return np.stack([next(walk).x_next for _ in noise])


def in_namespace(rule, xp, array):
    rule = jax.tree.map(array, rule)
    x = array(START)
    state, path = rule.init(x, xp), []
    for t, z in enumerate(NOISE, 1):
        step, state = rule.update(x + array(z), state, x, array(np.float64(t)), xp)
        x = x + step
        path.append(np.asarray(x))
    return np.stack(path)


@every_rule
def test_one_trajectory_in_every_namespace(rule):
    expected = in_numpy(rule)
    assert np.abs(np.diff(expected, axis=0)).min() > 0
    for xp, array, reach in (
        (jnp, jnp.asarray, 1e-12),
        (torch, lambda x: torch.as_tensor(np.asarray(x)), 1e-12),
        # Keras computes the tanh of float64 in float32, as it does cosines (its issue 23223).
        (keras.ops, lambda x: keras.ops.convert_to_tensor(np.float64(x), "float64"), 1e-6),
    ):
        np.testing.assert_allclose(in_namespace(rule, xp, array), expected, rtol=reach, atol=reach)


@every_rule
@pytest.mark.parametrize("compiled", [False, True])
def test_torch_front(rule, compiled):
    if compiled and not rule.elementwise:
        pytest.skip("a rule that needs the whole tensor is not compiled")
    x = torch.nn.Parameter(torch.tensor(START))
    optimizer = Optimizer([x], rule, compiled=compiled)
    path = []
    for z in NOISE:
        x.grad = x.detach() + torch.tensor(z)
        optimizer.step()
        path.append(x.detach().numpy().copy())
    np.testing.assert_allclose(np.stack(path), in_numpy(rule), rtol=1e-10, atol=1e-12)


@every_rule
def test_optax_front(rule):
    tx = transform(rule)

    def body(carry, z):
        x, state = carry
        updates, state = tx.update(x + z, state, x)
        return (x + updates, state), x + updates

    _, path = jax.lax.scan(body, (jnp.asarray(START), tx.init(jnp.asarray(START))), NOISE)
    np.testing.assert_allclose(path, in_numpy(rule), rtol=1e-10, atol=1e-12)


@every_rule
@pytest.mark.parametrize("shape", [(), (0,), (4, 1)])
def test_any_shape(rule, shape):
    noise = np.ones((3, *shape))
    path = in_numpy(rule, np.zeros(shape), noise)
    assert path.shape == noise.shape
    assert np.isfinite(path).all()


@every_rule
def test_a_run_in_the_lab(rule):
    runs = osc.run(rule, osc.task("quadratic"), steps=20, seeds=3)
    assert runs.loss.shape == (3, 21)


@pytest.mark.parametrize("cls", [osc.GRU, osc.LSTM, osc.VanillaRNN, osc.LinearSystem])
def test_untrained_it_stands_still(cls):
    assert np.all(in_numpy(cls.untrained(units=4)) == START)


def test_gru_is_torchs():
    """torch.nn.GRU has the same cell; it adds its two biases where we keep one for r and z."""
    rule, units = RULES["gru"], 5
    (cell,) = rule.cells
    theirs = torch.nn.GRU(1, units, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(cell["W"].T))
        theirs.weight_hh_l0.copy_(torch.tensor(cell["U"].T))
        theirs.bias_ih_l0.copy_(torch.tensor(cell["b"]))
        theirs.bias_hh_l0.copy_(torch.tensor(np.concatenate([np.zeros(2 * units), cell["c"]])))
        begun = torch.tensor(cell["h0"]).expand(1, 6, units).contiguous()
        seen = theirs(torch.tensor(NOISE.reshape(30, 6, 1)), begun)[0].numpy()
    expected = 0.1 * (seen @ rule.readout["w"] + rule.readout["b"])
    state, steps = rule.init(START, np), []
    for z in NOISE:
        step, state = rule.update(z, state, START, 1, np)
        steps.append(step.reshape(-1))
    np.testing.assert_allclose(steps, expected, rtol=1e-12, atol=1e-13)


def test_lstm_is_torchs():
    rule, units = trained(osc.LSTM), 5
    (cell,) = rule.cells
    theirs = torch.nn.LSTM(1, units, dtype=torch.float64)
    order = np.concatenate([np.arange(2 * units), np.arange(3 * units, 4 * units), np.arange(2 * units, 3 * units)])
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(cell["W"][:, order].T))
        theirs.weight_hh_l0.copy_(torch.tensor(cell["U"][:, order].T))
        theirs.bias_ih_l0.copy_(torch.tensor(cell["b"][order]))
        theirs.bias_hh_l0.zero_()
        begun = [torch.tensor(part).expand(1, 6, units).contiguous() for part in np.split(cell["h0"], 2)]
        seen = theirs(torch.tensor(NOISE.reshape(30, 6, 1)), tuple(begun))[0].numpy()
    expected = seen @ rule.readout["w"] + rule.readout["b"]
    state, steps = rule.init(START, np), []
    for z in NOISE:
        step, state = rule.update(z, state, START, 1, np)
        steps.append(step.reshape(-1))
    np.testing.assert_allclose(steps, expected, rtol=1e-12, atol=1e-13)


def test_untrained_small_fc_is_adam_at_one_length():
    """Each step is −lr times Adam's direction, divided by its root-mean-square."""
    ours = iterate(lambda x: x, START, osc.SmallFC.untrained(lr=0.1))
    for _ in range(5):
        step = next(ours)
    adam, state = osc.Adam(lr=1.0, eps=0.0), None
    walk = iterate(lambda x: x, START, osc.SmallFC.untrained(lr=0.1))
    state = adam.init(START, np)
    for t in range(1, 6):
        direction, state = adam.update(next(walk).grad, state, START, t, np)
    expected = 0.1 * direction / np.sqrt(np.mean(direction**2))
    np.testing.assert_allclose(step.step, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: osc.GRU.untrained(units=0), "gru: units must be a whole number ≥ 1, not 0"),
        (lambda: osc.LSTM.untrained(layers=1.5), "lstm: layers must be a whole number ≥ 1, not 1.5"),
        (lambda: osc.GRU.untrained(inputs="sign"), "inputs must be one of 'raw', 'log1p', not 'sign'"),
        (lambda: osc.SmallFC.untrained(units=True), "small-fc: units must be a whole number ≥ 1, not True"),
        (lambda: osc.GRU.untrained(unit=3), "unknown field of gru 'unit'"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(osc.BadInput, match=says):
        make()


def test_rules_are_equal_where_all_their_weights_are():
    one, same, other = (osc.GRU.untrained(units=4, seed=k) for k in (0, 0, 1))
    wide = osc.GRU.untrained(units=5)
    assert one == same
    assert one != other
    assert one != wide
    assert osc.ClipByValue(one, 0.1) == osc.ClipByValue(same, 0.1)
    assert osc.ClipByValue(one, 0.1) != osc.ClipByValue(other, 0.1)
    assert one == jax.tree.map(jnp.asarray, one)
    assert wide != jax.tree.map(jnp.asarray, one)
    assert osc.Adam(lr=jnp.ones(3)) == osc.Adam(lr=np.ones(3))
    assert osc.Adam(lr=jnp.ones(3)) != osc.Adam(lr=jnp.ones(2))
    assert osc.Adam(lr=jnp.ones(())) == osc.Adam(lr=1.0)
    assert other in [one, other]
