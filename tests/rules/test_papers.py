"""Every rule, in every combination of its variants, against the transcription of its paper (papers.py)."""

from itertools import count, product

import numpy as np
import papers
import pytest
from papers import PAPERS, path, relative_error

import optiscope as osc
from optiscope.frameworks.numpy import iterate, minimize
from optiscope.rules import Cosine, Exponential, InverseSqrt, LinearWarmup, Piecewise

STEPS = 200

OURS = {
    name: cls for name in osc.rules.names() if (cls := type(osc.rule(name))).__module__.startswith("optiscope.rules")
}
"""The rules of this package: a test may have declared others."""

PRESENT = {"dampening": 0.5, "momentum": 0.7, "eps_root": 1e-4, "weight_decay": 0.1}
"""What a hyperparameter that is absent by default is when it is there."""
CHOICES = {"initial": (0.0, 0.5), "psi": (None, 0.004, 1.0)}
"""Hyperparameters of which some value is an algorithm of its own."""
UNUSUAL = {"b1": 0.8, "b2": 0.95, "rho": 0.8, "momentum": 0.6, "eps": 1e-3, "weight_decay": 0.05, "bound": 4.0}
"""Settings far from every default, so that none of them can be mistaken for another."""


def combinations(cls):
    """Every combination of the variants and of the terms that may be absent."""
    optional = {
        name: CHOICES.get(name) or (None, PRESENT[name])
        for name in cls.hypers()
        if name in CHOICES or getattr(cls, name) is None
    }
    choices = {**optional, **cls.variants()}
    for values in product(*choices.values()):
        made = dict(zip(choices, values, strict=True))
        if not (made.get("average") and made.get("dampening") is not None):  # two names for one thing: refused
            yield made


CASES = [
    pytest.param(name, made, id=" ".join([name, *(f"{k}={v}" for k, v in made.items())]))
    for name, cls in OURS.items()
    for made in combinations(cls)
]

SCALES = np.array([1, 0.1, 3, 1e-3, 1e-6, 10, 0])
START = np.random.default_rng(0).standard_normal(7) * SCALES
NOISE = np.random.default_rng(1).standard_normal((STEPS, 7)) * SCALES
NOISE[:3, 1] = 0  # a coordinate that wakes up late,
NOISE[4::7, 5] = 0  # one that sleeps at times,
NOISE[100:, 2] = 0  # and one that falls asleep

ROWS = np.random.default_rng(2).standard_normal((STEPS, 7)) * [1, 0.1, 3, 0.01, 0.3, 2, 0]
TARGETS = np.random.default_rng(3).standard_normal(STEPS)


def noise(x, t):
    return NOISE[t - 1]


def least_squares(x, t):
    """The gradient of ½ (a·x − b)² at the row a of step t: a function of x, and not a separable one."""
    return ROWS[t - 1] * (ROWS[t - 1] @ x - TARGETS[t - 1])


def silent_at_first(g):
    return lambda x, t: 0 * x if t == 1 else g(x, t)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def rosenbrock_gradient(x, t=None):
    rise = x[1] - x[0] ** 2
    return np.array([-2 * (1 - x[0]) - 400 * x[0] * rise, 200 * rise])


def run(rule, g, steps=STEPS):
    clock = count(1)
    return path((step.x_next for step in iterate(lambda x: g(x, next(clock)), START, rule)), steps)


def defaults(cls):
    return {name: getattr(cls, name) for name in cls.hypers() if name != "lr"}


def error(rule, g, paper):
    return relative_error(run(rule, g), path(paper, STEPS), START)


def test_every_rule_has_a_transcription():
    assert set(PAPERS) == set(OURS)


@pytest.mark.parametrize(("name", "made"), CASES)
def test_on_noise_while_the_rate_changes(name, made):
    cls, rates = OURS[name], Piecewise((60, 130), (0.01, 0.005, 0.015))
    # One gradient has no variance: v̂ − m̂² would be rounding noise.
    lonely = made.get("centered") and made.get("corrected") and made["initial"] == 0
    g = silent_at_first(noise) if lonely else noise
    paper = PAPERS[name](g, START, lambda t: 0.01 if t <= 60 else 0.005 if t <= 130 else 0.015, **defaults(cls) | made)
    assert error(osc.Scheduled(cls(**made), lr=rates), g, paper) < 1e-10


@pytest.mark.parametrize(("name", "made"), CASES)
def test_on_least_squares(name, made):
    cls = OURS[name]
    settings = {k: UNUSUAL.get(k, v) for k, v in defaults(cls).items()} | made
    g = silent_at_first(least_squares)
    paper = PAPERS[name](g, START, lambda t: 0.02, **settings)
    assert error(cls(lr=0.02, **settings), g, paper) < 1e-10


@pytest.mark.parametrize("name", OURS)
def test_minimize_on_rosenbrock(name):
    start, lr = np.array([-1.5, 1.5]), 1e-4 if name in ("gd", "momentum", "nesterov") else 1e-2
    cls = OURS[name]
    variants = {k: choices[0] for k, choices in cls.variants().items()}
    walk = path(PAPERS[name](rosenbrock_gradient, start, lambda t: lr, **defaults(cls), **variants), STEPS)
    result = minimize(rosenbrock, rosenbrock_gradient, start, cls(lr=lr), STEPS)
    assert relative_error(result.x, walk[-1:], start) < 1e-10
    np.testing.assert_allclose(result.values, [rosenbrock(x) for x in [start, *walk]], rtol=1e-10)


@pytest.mark.parametrize("form", osc.Nesterov.variants()["form"])
def test_nesterov_is_the_algorithm_of_1983(form):
    paper = papers.nesterov_1983(least_squares, START, lambda t: 0.02, momentum=0.8)
    assert error(osc.Nesterov(lr=0.02, momentum=0.8, form=form), least_squares, paper) < 1e-10


def test_radam_at_its_bound():
    ends = {}
    for side in osc.RAdam.variants()["at_bound"]:
        settings = {"b1": 0.9, "b2": 0.75, "eps": 1e-8, "eps_root": None, "eps_on": "raw v", "at_bound": side}
        settings["bound"] = 7 - 2 * 6 * 0.75**6 / (1 - 0.75**6)  # ρ of step 6, where ρ∞ is 7
        paper = papers.radam(noise, START, lambda t: 0.01, **settings)
        assert error(osc.RAdam(lr=0.01, **settings), noise, paper) < 1e-10
        ends[side] = run(osc.RAdam(lr=0.01, **settings), noise, steps=6)[-1]
    assert not np.allclose(ends["plain"], ends["adaptive"])


@pytest.mark.parametrize("eps_at", osc.RMSProp.variants()["eps_at"])
@pytest.mark.parametrize("corrected", [False, True])
def test_centred_rmsprop_survives_a_constant_gradient(eps_at, corrected):
    rule = osc.RMSProp(centered=True, corrected=corrected, eps_at=eps_at)
    assert np.isfinite(run(rule, lambda x, t: np.array([0.3, 3.3, 17.1, 123.456, 12345.6, 1e-3, 0]), steps=1000)).all()


# The wrappers. Those that change the gradient are the held rule's paper, asked with another gradient.


def clipped(g, limit):
    return lambda x, t: np.minimum(np.maximum(g(x, t), -limit(t)), limit(t))


def clipped_to_norm(g, limit):
    def short(x, t):
        gradient = g(x, t)
        norm = np.linalg.norm(gradient)
        return gradient * limit(t) / norm if norm > limit(t) else gradient

    return short


def regularised(g, strength):
    return lambda x, t: g(x, t) + strength(t) * x


def sgdw(g, x, lr, momentum, weight_decay):
    """Loshchilov & Hutter (2019, Algorithm 1), their α being 1 and η the rate."""
    m = np.zeros_like(x)
    for t in count(1):
        m = momentum(t) * m + lr(t) * g(x, t)
        x = x - m - lr(t) * weight_decay(t) * x
        yield x


def adam_of_changing_settings(g, x, lr, b1, b2, eps):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        m = b1(t) * m + (1 - b1(t)) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        x = x - lr(t) * (m / (1 - b1(t) ** t)) / (np.sqrt(v / (1 - b2**t)) + eps(t))
        yield x


def always(number):
    return lambda t: number


def one_percent(t):
    return 0.01


def cosine(t):
    return 0.02 * (1 + np.cos(np.pi * (t - 1) / STEPS)) / 2


ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": None, "eps_on": "corrected v"}


@pytest.mark.parametrize("g", [noise, least_squares, silent_at_first(least_squares)])
@pytest.mark.parametrize(
    ("rule", "paper"),
    [
        pytest.param(
            osc.ClipByValue(osc.GradientDescent(0.01), limit=0.5),
            lambda g, x: papers.gd(clipped(g, always(0.5)), x, one_percent),
            id="clip by value",
        ),
        pytest.param(
            osc.ClipByNorm(osc.Adam(0.01), limit=0.7),
            lambda g, x: papers.adam(clipped_to_norm(g, always(0.7)), x, one_percent, **ADAM),
            id="clip by norm",
        ),
        pytest.param(
            osc.L2(osc.Adam(0.01), weight_decay=0.1),
            lambda g, x: papers.adam(regularised(g, always(0.1)), x, one_percent, **ADAM),
            id="L2",
        ),
        pytest.param(
            osc.WeightDecay(osc.Momentum(0.01, lr_in="velocity"), weight_decay=0.1),
            lambda g, x: sgdw(g, x, one_percent, always(0.9), always(0.1)),
            id="decay of momentum",
        ),
        pytest.param(
            osc.WeightDecay(osc.Adam(0.01), weight_decay=0.1),
            lambda g, x: papers.adam(g, x, one_percent, **ADAM, weight_decay=0.1),
            id="decay of Adam",
        ),
        pytest.param(
            osc.Scheduled(osc.WeightDecay(osc.Adam(), weight_decay=0.1), lr=Cosine(0.02, STEPS)),
            lambda g, x: papers.adam(g, x, cosine, **ADAM, weight_decay=0.1),
            id="decay follows the rate",
        ),
        pytest.param(
            osc.ClipByNorm(osc.L2(osc.GradientDescent(0.01), weight_decay=0.1), limit=0.7),
            lambda g, x: papers.gd(regularised(clipped_to_norm(g, always(0.7)), always(0.1)), x, one_percent),
            id="clip, then L2",
        ),
        pytest.param(
            osc.L2(osc.ClipByNorm(osc.GradientDescent(0.01), limit=0.7), weight_decay=0.1),
            lambda g, x: papers.gd(clipped_to_norm(regularised(g, always(0.1)), always(0.7)), x, one_percent),
            id="L2, then clip",
        ),
        pytest.param(
            osc.Scheduled(
                osc.Adam(b2=0.95), lr=Cosine(0.02, STEPS), b1=LinearWarmup(0.95, 100, 0.5), eps=Exponential(1e-2, 0.97)
            ),
            lambda g, x: adam_of_changing_settings(
                g, x, cosine, lambda t: min(0.95, 0.5 + 0.45 * (t - 1) / 100), 0.95, lambda t: 1e-2 * 0.97 ** (t - 1)
            ),
            id="schedules of three",
        ),
        pytest.param(
            osc.Scheduled(
                osc.WeightDecay(osc.ClipByValue(osc.Momentum(lr_in="velocity"))),
                lr=Cosine(0.02, STEPS),
                limit=InverseSqrt(1.0),
                weight_decay=Exponential(0.1, 0.5, 50),
                momentum=LinearWarmup(0.9, 100, 0.5),
            ),
            lambda g, x: sgdw(
                clipped(g, lambda t: t**-0.5),
                x,
                cosine,
                lambda t: min(0.9, 0.5 + 0.4 * (t - 1) / 100),
                lambda t: 0.1 * 0.5 ** ((t - 1) / 50),
            ),
            id="schedules at three depths",
        ),
        pytest.param(
            osc.Scheduled(osc.L2(osc.Scheduled(osc.Momentum(), lr=Cosine(0.02, STEPS))), weight_decay=InverseSqrt(0.1)),
            lambda g, x: papers.momentum(
                regularised(g, lambda t: 0.1 * t**-0.5), x, cosine, 0.9, None, False, "step", "damped"
            ),
            id="a schedule within a schedule",
        ),
    ],
)
def test_wrappers(rule, paper, g):
    assert error(rule, g, paper(g, START)) < 1e-10


def test_clip_by_norm_takes_each_array_alone():
    g = {"short": np.array([0.3, 0.4]), "long": np.array([[30.0], [40.0]])}
    x = {name: np.zeros_like(array) for name, array in g.items()}
    result = minimize(None, lambda x: g, x, osc.ClipByNorm(osc.GradientDescent(1.0), limit=2.0), 1)
    np.testing.assert_allclose(result.x["short"], [-0.3, -0.4], rtol=1e-15)
    np.testing.assert_allclose(result.x["long"], [[-1.2], [-1.6]], rtol=1e-15)
