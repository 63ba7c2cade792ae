"""Small runs from teaching material, whose printed results an implementation that knows nothing of ours produced.

The random numbers are those of NumPy's legacy generator, in the order in which the material draws them.
"""

from itertools import islice

import numpy as np
import pytest

import optiscope as osc
from optiscope.frameworks.numpy import iterate, minimize


@pytest.fixture
def line():
    """100 points about y = 4 + 3x: the design, the targets, the first weights, and the generator for what follows."""
    draw = np.random.RandomState(0)
    x = 2 * draw.rand(100, 1)
    y = 4 + 3 * x + draw.randn(100, 1)
    return np.hstack([np.ones((100, 1)), x]), y, draw.randn(2, 1), draw


def test_linear_regression_by_full_batches(line):
    x, y, w, _ = line
    result = minimize(
        lambda w: np.mean((x @ w - y) ** 2),
        lambda w: 2 / 100 * x.T @ (x @ w - y),
        w,
        osc.GradientDescent(lr=0.01),
        1000,
    )
    published = [82.6630580098186, 1.03474536503957, 1.0053717575274455, 0.9992232039352024, 0.9959987975896929]
    published += [0.9943068126783625, 0.9934189550799246, 0.9929530578311317, 0.9927085814119238, 0.992580294070233]
    np.testing.assert_allclose(result.values[:1000:100], published, rtol=1e-12)
    np.testing.assert_allclose(result.x[:, 0], [4.20607718142562, 2.9827303563323175], rtol=1e-12)


def test_linear_regression_by_single_rows(line):
    x, y, w, draw = line

    def gradient(w):
        i = draw.randint(100)
        return 2 * x[[i]].T @ (x[[i]] @ w - y[[i]])

    result = minimize(lambda w: np.mean((x @ w - y) ** 2), gradient, w, osc.GradientDescent(lr=0.01), 1000)
    published = [69.02554947814826, 1.0436708721159689, 1.041294923577367, 1.010387875806174, 1.0070132665208844]
    published += [1.091486693566191, 0.9986328028787116, 1.0340118681106303, 0.9984103484305885, 1.0082506511215945]
    np.testing.assert_allclose(result.values[1::100], published, rtol=1e-12)
    np.testing.assert_allclose(result.x[:, 0], [4.352670551847081, 3.052173302887621], rtol=1e-12)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_logistic_regression_by_batches_of_ten():
    draw = np.random.RandomState(42)
    x = draw.randn(100, 2)
    y = (x[:, 0] + x[:, 1] > 0) * 1.0
    x = np.hstack([np.ones((100, 1)), x])
    theta = draw.randn(3)
    batches = (rows for epoch in range(100) for rows in draw.permutation(100).reshape(10, 10))
    seen = []

    def gradient(theta):
        seen.append(rows := next(batches))
        return x[rows].T @ (sigmoid(x[rows] @ theta) - y[rows]) / 10

    losses = []
    for step in islice(iterate(gradient, theta, osc.GradientDescent(lr=0.1)), 1000):
        rows, theta = seen[-1], step.x_next
        guess = sigmoid(x[rows] @ theta)
        losses.append(-np.mean(y[rows] * np.log(guess) + (1 - y[rows]) * np.log(1 - guess)))
    published = [0.424476004585312, 0.2950600705690528, 0.19517955198064607, 0.07305972705615815, 0.15634434000393793]
    published += [0.09763985480946141, 0.22901934823973308, 0.06952644778550963, 0.12401363486230814]
    published += [0.05268405861771795]
    np.testing.assert_allclose(losses[9::100], published, rtol=1e-12)
    np.testing.assert_allclose(theta, [-0.17306619, 3.80492488, 3.80846526], atol=5e-9)
    assert np.mean((x @ theta > 0) == y) == 0.99


def test_xor_by_momentum():
    draw = np.random.RandomState(42)
    x = draw.randn(200, 2)
    y = np.logical_xor(x[:, [0]] > 0, x[:, [1]] > 0) * 1.0
    start = {"w1": draw.randn(2, 4), "b1": np.zeros((1, 4)), "w2": draw.randn(4, 1), "b2": np.zeros((1, 1))}
    losses = []

    def gradient(p):
        hidden = sigmoid(x @ p["w1"] + p["b1"])
        guess = sigmoid(hidden @ p["w2"] + p["b2"])
        losses.append(np.mean((guess - y) ** 2))
        above = (guess - y) * guess * (1 - guess)
        below = above @ p["w2"].T * hidden * (1 - hidden)
        return {
            "w1": x.T @ below,
            "b1": below.sum(0, keepdims=True),
            "w2": hidden.T @ above,
            "b2": above.sum(0, keepdims=True),
        }

    minimize(None, gradient, start, osc.Momentum(lr=0.01, momentum=0.9, lr_in="velocity"), 10_000)
    published = [0.24866396311697422, 0.059649335744367704, 0.05161391737798015, 0.04723741665655129]
    published += [0.043973210315089856, 0.041256973919964544, 0.03895073389030161, 0.037002859681704706]
    published += [0.035360650108840486, 0.03396667708959878]
    np.testing.assert_allclose(losses[::1000], published, rtol=1e-10)  # the last digits are the BLAS library's


# The landscapes: each a function and its gradient.

BOWL = (lambda x: x[0] ** 2 + x[1] ** 2, lambda x: 2 * x)
OVAL = (lambda x: x[0] ** 2 + 2 * x[1] ** 2, lambda x: np.array([2 * x[0], 4 * x[1]]))
VALLEY = (lambda x: 0.1 * x[0] ** 2 + 2 * x[1] ** 2, lambda x: np.array([0.2 * x[0], 4 * x[1]]))
TILTED = (
    lambda x: 5 * x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[0] - 10 * x[1] + 4,
    lambda x: np.array([10 * x[0] + 3, 4 * x[1] - 10]),
)
SADDLE = (lambda x: x[0] ** 2 - x[1] ** 2, lambda x: np.array([2 * x[0], -2 * x[1]]))
SQUARE = (lambda x: x**2, lambda x: 2 * x)
CUBE = (lambda x: x**3, lambda x: 3 * x**2)
WAVES = (lambda x: x * np.cos(np.pi * x), lambda x: np.cos(np.pi * x) - np.pi * x * np.sin(np.pi * x))
ROSENBROCK = (
    lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2,
    lambda x: np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)]),
)
HIMMELBLAU = (
    lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2,
    lambda x: np.array(
        [
            4 * x[0] * (x[0] ** 2 + x[1] - 11) + 2 * (x[0] + x[1] ** 2 - 7),
            2 * (x[0] ** 2 + x[1] - 11) + 4 * x[1] * (x[0] + x[1] ** 2 - 7),
        ]
    ),
)


def descend(landscape, start, rule, steps, callback=None):
    return minimize(*landscape, np.array(start, dtype=float), rule, steps, callback)


@pytest.mark.parametrize(
    ("start", "u"), [(-0.6, -0.86033358901938), (0.8, 3.425618459481728), (2.0, 3.425618459481728)]
)
def test_waves_have_a_local_and_a_global_minimum(start, u):
    """At u = πx with u tan u = 1: near −0.3, and lower near 1.1."""
    result = descend(WAVES, start, osc.GradientDescent(lr=0.03), 500)
    np.testing.assert_allclose(result.x, u / np.pi, rtol=1e-12)
    assert result.value == pytest.approx(-(u**2) / np.pi / np.sqrt(1 + u**2), rel=1e-12)


def test_saddles_hold_only_what_starts_on_the_line_into_them():
    gd = osc.GradientDescent(lr=0.1)
    assert descend(CUBE, 0.0, gd, 50).x == 0
    assert 0 < descend(CUBE, 1.0, gd, 1000).x < 0.01
    assert descend(CUBE, -0.5, gd, 12).x < -1e3
    np.testing.assert_allclose(descend(SADDLE, [1, 0], gd, 200).x, [0, 0], atol=1e-12)
    assert descend(SADDLE, [1, 1e-6], gd, 200).x[1] > 1e3


@pytest.mark.parametrize(("lr", "end"), [(0.2, 0.060466176), (0.05, 3.486784401), (1.1, 61.917364224)])
def test_gradient_descent_on_a_parabola_converges_crawls_or_diverges(lr, end):
    """From 10, ten steps: 10 (1 − 2 lr)¹⁰."""
    assert descend(SQUARE, 10.0, osc.GradientDescent(lr=lr), 10).x == pytest.approx(end, rel=1e-12)


def test_gradient_descent_in_an_oval():
    result = descend(OVAL, [-5, -2], osc.GradientDescent(lr=0.1), 20)
    np.testing.assert_allclose(result.x, [-5 * 0.8**20, -2 * 0.6**20], rtol=1e-12)


def valley(rule):
    return np.array([step.x_next for step in islice(iterate(VALLEY[1], np.array([-5.0, -2.0]), rule), 20)])


def test_gradient_descent_zigzags_across_a_valley_or_leaves_it():
    across = valley(osc.GradientDescent(lr=0.4))[:, 1]
    assert (across[1:] * across[:-1] < 0).all()
    assert abs(across[-1]) < 1e-4
    assert abs(valley(osc.GradientDescent(lr=0.6))[-1, 1]) > 1e3


@pytest.mark.parametrize("lr", [0.4, 0.6])
def test_momentum_settles_in_the_valley(lr):
    np.testing.assert_allclose(valley(osc.Momentum(lr=lr, momentum=0.5))[-1], [0, 0], atol=0.1)


def test_adagrad_stalls_in_the_valley_and_rmsprop_does_not():
    inside = {"eps": 1e-6, "eps_at": "inside root"}
    np.testing.assert_allclose(valley(osc.AdaGrad(lr=2, **inside))[-1], [-0.002295, 0], atol=5e-7)
    assert valley(osc.AdaGrad(lr=0.4, **inside))[-1, 0] < -2
    np.testing.assert_allclose(valley(osc.RMSProp(lr=0.4, rho=0.9, **inside))[-1], [0, 0], atol=0.02)


@pytest.mark.parametrize(
    ("landscape", "start", "rule", "steps", "end"),
    [
        pytest.param(BOWL, [1, 1], osc.AdaGrad(lr=0.1), 50, 0.04, id="AdaGrad in a bowl"),
        pytest.param(ROSENBROCK, [-1.5, 1.5], osc.AdaDelta(rho=0.9, eps=1e-8), 100, 43, id="AdaDelta on Rosenbrock"),
        pytest.param(HIMMELBLAU, [0, 0], osc.RMSProp(lr=1e-3, rho=0.9), 100, 166, id="RMSProp on Himmelblau"),
    ],
)
def test_every_step_of_a_careful_rule_goes_down(landscape, start, rule, steps, end):
    values = descend(landscape, start, rule, steps).values
    assert (np.diff(values) < 0).all()
    assert values[-1] < end


@pytest.mark.parametrize("minimum", [(3, 2), (-2.8051, 3.1313), (-3.7793, -3.2832), (3.5844, -1.8481)])
def test_himmelblau_has_four_minima(minimum):
    result = descend(HIMMELBLAU, np.round(minimum), osc.GradientDescent(lr=0.01), 500)
    np.testing.assert_allclose(result.x, minimum, atol=5e-5)
    assert result.value < 1e-20


def test_rmsprop_climbs_down_to_the_nearest_of_them():
    np.testing.assert_allclose(descend(HIMMELBLAU, [0, 0], osc.RMSProp(lr=1e-3, rho=0.9), 4000).x, [3, 2], atol=1e-3)


def test_adam_until_the_gradient_is_small():
    result = descend(TILTED, [1, 1], osc.Adam(lr=0.1), 1000, lambda step: np.linalg.norm(step.grad) < 1e-6)
    assert result.steps < 1000
    np.testing.assert_allclose(result.x, [-0.3, 2.5], atol=1e-6)
