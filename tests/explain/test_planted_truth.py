"""What is known of a rule is what the analysis reads off it."""

import functools
import re

import numpy as np
import optax
import pytest
from planted import AggregatedMomentum, LinearRule

import optiscope as osc
from optiscope.explain.dynamics import dynamics, parts
from optiscope.explain.modes import modes
from optiscope.explain.rest import rest

STEPS = 200


@functools.cache
def explained(rule, task="valley"):
    return osc.explain(rule, osc.task(task))


def at_rest(rule, size=1.0):
    maps = dynamics(rule)
    alone = rest(maps, parts(maps, size), size, STEPS)
    return alone, modes(alone.linear(alone.states[-2], STEPS), alone.parts.free, alone.states[-2])


def terms(found):
    """(β, α) of the modes that carry anything, by β."""
    return sorted((m.beta.real, m.alpha.real) for m in found.modes if abs(m.alpha) > 1e-12)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (osc.GradientDescent(lr=0.3), [(0, 0.3)]),
        (osc.Momentum(lr=0.02, momentum=0.93), [(0.93, 0.02)]),
        (osc.Momentum(lr=0.02, momentum=0.93, average=True), [(0.93, 0.02 * 0.07)]),
        (osc.Momentum(lr=0.02, momentum=0.93, lr_in="velocity"), [(0.93, 0.02)]),
        (osc.Nesterov(lr=0.02, momentum=0.8), [(0, 0.02), (0.8, 0.016)]),
        (osc.Nesterov(lr=0.02, momentum=0.8, form="look-ahead"), [(0, 0.02), (0.8, 0.016)]),
        (AggregatedMomentum(0.06), [(0.5, 0.02), (0.9, 0.02), (0.99, 0.02)]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_every_momentum_term_comes_back(rule, wanted):
    np.testing.assert_allclose(terms(at_rest(rule)[1]), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_linear_system_with_complex_pairs_comes_back(seed):
    rng = np.random.default_rng(seed)
    angles, sizes = rng.uniform(0.2, 2.5, 3), rng.uniform(0.5, 0.97, 3)
    real = rng.uniform(-0.9, 0.95, 2)
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    D = np.zeros((8, 8))
    for i, size in enumerate(sizes):
        D[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = size * turns[..., i]
    D[6, 6], D[7, 7] = real
    Q = rng.standard_normal((8, 8)) + 3 * np.eye(8)
    A, B, w = Q @ D @ np.linalg.inv(Q), rng.standard_normal(8), rng.standard_normal(8)
    found = at_rest(LinearRule(A, B, w))[1]
    betas = np.array([m.beta for m in found.modes if m.beta != 0])
    wanted = np.concatenate([sizes * np.exp(1j * angles), real])
    np.testing.assert_allclose(np.sort_complex(betas), np.sort_complex(wanted), rtol=0, atol=1e-10)
    assert sum(m.oscillates for m in found.modes) == 3
    k = np.arange(40)
    answer = [w @ np.linalg.matrix_power(A, i) @ B for i in k]  # the system's own impulse response
    np.testing.assert_allclose(found.response(k), answer, rtol=0, atol=1e-10 * found.condition)


@pytest.mark.parametrize("wrapper", [osc.ClipByValue, osc.ClipByNorm])
@pytest.mark.parametrize("limit", [0.01, 0.5, 3.0])
def test_a_clip_reads_its_limit(limit, wrapper):
    clip = explained(wrapper(osc.Momentum(), limit)).clipping
    assert clip.kind == "hard"
    np.testing.assert_allclose(clip.limits, limit, rtol=1e-6)
    assert clip.asymmetry == pytest.approx(0, abs=1e-12)


def test_the_share_of_clipped_gradients_is_that_of_the_gradients_met():
    found = explained(osc.ClipByValue(osc.Momentum(), 0.5))
    met = found.visits.grads[found.visits.grads != 0]
    # A straight line is left by a tenth where the gradient is 1/0.9 of the limit; the grid has steps of 1.4 %.
    assert np.mean(abs(met) > 0.57) <= found.clipping.beyond <= np.mean(abs(met) > 0.55)
    low, high = found.clipping.interval
    assert low < found.clipping.beyond < high


SCHEDULES = {
    "warm-up": (osc.LinearWarmup(0.01, 40, 0.001), "warm-up"),
    "cosine": (osc.Cosine(0.01, 200), "cosine decay"),
    "step": (osc.Step(0.01, 0.5, 50), "stepwise decay"),
    "exponential": (osc.Exponential(0.01, 0.5, 40), "exponential decay"),
    "inverse root": (osc.InverseSqrt(0.01), "1/√t decay"),
    "warm-up, cosine": (osc.LinearWarmup(0.01, 20, 0.002, osc.Cosine(0.01, 180)), "warm-up"),
    "plateau, linear": (osc.Chained((osc.Constant(0.01), osc.Polynomial(0.01, 0.001, 150)), (50,)), "linear decay"),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_reads_itself(case):
    given, words = SCHEDULES[case]
    found = explained(osc.Scheduled(osc.Momentum(), lr=given)).schedule
    truth = np.array([float(given(k, np)) for k in range(STEPS)])
    np.testing.assert_allclose(found.rates, truth, rtol=0, atol=1e-8)
    assert found.present
    assert words in found.words
    told = [float(found.fit(float(k), np)) for k in range(STEPS)]
    np.testing.assert_allclose(told, truth, rtol=0, atol=1e-8)
    assert found.error < 1e-6


@pytest.mark.parametrize("case", SCHEDULES)
@pytest.mark.parametrize("rule", [osc.Adam(lr=0.01), osc.RMSProp(lr=0.01)], ids=lambda r: r.name)
def test_a_schedule_of_a_rule_whose_averages_begin_at_zero_reads_itself(rule, case):
    given, words = SCHEDULES[case]
    found = explained(osc.Scheduled(rule, lr=given))
    plan, once = found.schedule, 0.1 if rule.name == "adam" else 1.0
    truth = once / found.visits.size * np.array([float(given(k, np)) for k in range(STEPS)])
    assert words in plan.words
    told = np.array([float(plan.fit(float(k), np)) for k in range(STEPS)])
    np.testing.assert_allclose(told, truth, rtol=0, atol=1e-5 * truth.max())
    np.testing.assert_allclose(plan.rates, told * plan.begins, rtol=0, atol=1e-5 * truth.max())
    (beta, alpha), *_ = found.modes.terms
    assert beta == pytest.approx(0.9 if rule.name == "adam" else 0, abs=1e-10)
    assert alpha == pytest.approx(plan.rates[found.reference - 1], rel=1e-6)


def test_a_schedule_that_comes_back_to_its_peak_is_no_warm_up():
    plan = explained(osc.Scheduled(osc.GradientDescent(), lr=osc.Piecewise((50, 100), (0.1, 0.01, 0.1)))).schedule
    assert plan.present
    assert plan.words == "a dip from 0.1 to 0.01 and back"


def test_a_schedule_of_adagrad_is_read_beneath_its_growing_sum():
    given = osc.Cosine(0.01, 200)
    found = explained(osc.Scheduled(osc.AdaGrad(), lr=given))
    plan, k = found.schedule, np.arange(STEPS)
    assert re.fullmatch(r"cosine decay from \S+ to \S+, times 1/√t", plan.words)
    truth = given(k, np) / np.sqrt(k + 1) / found.visits.size
    np.testing.assert_allclose(plan.rates, truth, rtol=0, atol=1e-6 * truth.max())
    np.testing.assert_allclose(plan.fit(k * 1.0, np) * plan.begins, truth, rtol=0, atol=1e-6 * truth.max())


def test_radam_falls_to_its_first_rectified_step_and_rises_from_there():
    plan = explained(osc.RAdam()).schedule
    assert plan.shape == "fall and rise"
    # The first step with more than 4 degrees of freedom is the sixth (Liu et al., 2020, section 5.3).
    assert "in 5 steps, then a rise to" in plan.words
    assert int(np.argmin(plan.rates)) == 5
    assert plan.error < 0.02


@pytest.mark.parametrize("rule", [osc.Adam(lr=0.0), osc.Momentum(lr=0.0)], ids=lambda r: r.name)
def test_a_rule_that_never_steps_has_no_mechanism(rule):
    verdict = explained(rule).verdict
    assert not any(f.present for f in verdict.findings)
    assert verdict.sentence.startswith("no momentum, rate 0, no clipping, no schedule")


def test_rmsprops_adaptation_is_lr_over_the_root_of_rho_g_squared():
    rule = osc.RMSProp(lr=0.01, rho=0.9)
    found = explained(rule).adaptation
    np.testing.assert_allclose(found.states[:, 0], found.grads**2, rtol=1e-8)
    np.testing.assert_allclose(found.rates, 0.01 / (np.sqrt(0.9) * abs(found.grads) + 1e-8), rtol=1e-8)
    np.testing.assert_allclose(found.steps, -0.01 * found.grads / (abs(found.grads) + 1e-8), rtol=1e-8)
    assert found.exponent == pytest.approx(-1, abs=0.02)
    assert found.left_out == 0


def test_adadelta_adapts_though_under_a_gradient_that_stays_for_ever_it_would_not():
    # After millions of steps of one gradient its steps are as long as the gradient, whatever that is.
    found = explained(osc.AdaDelta(), "quadratic")
    assert found.adaptation.exponent == pytest.approx(-1, abs=0.05)
    assert any("e_x only grows" in n for n in found.notes)


def test_momentum_does_not_adapt():
    found = explained(osc.Momentum()).adaptation
    assert found.exponent == pytest.approx(0, abs=0.01)
    assert not found.present
    assert found.corner == np.inf


@pytest.mark.parametrize("rule", [osc.Adam(), osc.AMSGrad(), osc.AdaMax(), osc.AdaGrad()], ids=lambda r: r.name)
def test_rules_without_a_derivative_at_rest_give_finite_right_answers(rule):
    found = explained(rule)
    size, lr = found.visits.size, float(rule.lr)
    (note,) = (n for n in found.notes if "blind to the gradient's sign" in n)
    assert "no derivative" in note
    top = found.modes.modes[0]
    if rule.name == "adagrad":
        # After k gradients of size s its rate is lr / (s √k).
        np.testing.assert_allclose(found.schedule.rates, lr / (size * np.sqrt(np.arange(1, 201))), rtol=1e-6)
        assert any("a only grows" in n for n in found.notes)
        assert top.beta == 0
    else:
        assert top.beta == pytest.approx(0.9, abs=1e-10)
        assert top.alpha.real == pytest.approx(0.1 * lr / size, rel=1e-6)
        assert not found.schedule.present  # its bias correction is none
    assert found.adaptation.exponent == pytest.approx(-1, abs=0.02)
    assert not found.clipping.present
    assert found.dynamics.points[0].residual < 1e-12


def test_sign_descents_saturation_is_its_rate():
    clip = explained(osc.SignDescent(lr=0.003)).clipping
    assert clip.kind == "sign"
    assert clip.levels == pytest.approx((0.003, 0.003), rel=1e-12)


def test_a_composition_is_read_as_exactly_its_parts():
    rule = osc.ClipByValue(osc.Scheduled(osc.Momentum(momentum=0.8), lr=osc.Cosine(0.02, 200)), 1.5)
    found = explained(rule)
    assert [f.mechanism for f in found.verdict.findings if f.present] == ["momentum", "clipping", "schedule"]
    assert found.verdict.sentence.startswith("momentum 0.8 with rate 0.02, clipping at ±1.5, cosine decay from 0.02")
    assert found.verdict["momentum"].figures == pytest.approx({"beta 1": 0.8, "alpha 1": 0.02}, abs=1e-10)


def test_weight_decay_is_seen():
    found = explained(osc.WeightDecay(osc.Momentum(lr=0.02), 0.1))
    assert found.verdict["weight decay"].figures["shrinkage"] == pytest.approx(0.002, rel=1e-9)
    assert not found.symmetries.translates


@pytest.mark.parametrize(
    ("rule", "scaling"), [(osc.Momentum(), 1.0), (osc.Adam(eps=1e-12), 0.0), (osc.SignDescent(), 0.0)]
)
def test_symmetries(rule, scaling):
    same = explained(rule).symmetries
    assert same.scaling == pytest.approx(scaling, abs=1e-6)
    assert same.odd
    assert same.translates


@pytest.mark.parametrize(
    ("rule", "edge"),
    [
        (osc.GradientDescent(lr=0.1), 2 / 0.1),
        (osc.Momentum(lr=0.1, momentum=0.9), 2 * 1.9 / 0.1),
        # Nesterov's: 2 (1 + μ) / (lr (1 + 2μ)).
        (osc.Nesterov(lr=0.1, momentum=0.9), 2 * 1.9 / (0.1 * 2.8)),
    ],
)
def test_the_edge_of_stability_is_predicted_and_measured(rule, edge):
    found = explained(rule).stability
    assert found.predicted == pytest.approx(edge, rel=1e-9)
    assert found.measured == pytest.approx(edge, rel=1e-3)


def test_an_optax_transformation_reads_as_our_own_rule():
    from optiscope.frameworks.optax import from_optax

    ours = explained(osc.Adam(lr=0.01))
    theirs = explained(from_optax(optax.adam(0.01), "theirs", elementwise=True))
    assert theirs.parts.clocks.sum() == 1  # its counter
    assert any("0.count: moved by time alone" in n for n in theirs.notes)
    assert theirs.modes.modes[0].beta == pytest.approx(0.9, abs=1e-10)
    assert theirs.modes.modes[0].alpha == pytest.approx(ours.modes.modes[0].alpha, rel=1e-9)
    assert theirs.verdict.sentence == ours.verdict.sentence


def test_heavy_balls_optimum():
    from optiscope.explain import heavy_ball

    assert heavy_ball(osc.task("quadratic")) == pytest.approx((3.7585, 0.8811), abs=1e-4)
    assert heavy_ball(osc.task("rosenbrock")) is None
