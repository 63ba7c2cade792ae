"""What comes back of rules that are learned, awkward or hopeless."""

import numpy as np
import planted
import pytest

import optiscope as osc
from optiscope.explain.modes import modes


@pytest.fixture(scope="module")
def learned():
    return osc.explain(planted.small_gru(), osc.task("quadratic"))


def test_a_recurrent_network_has_one_fixed_point_that_every_start_leads_to(learned):
    (point,) = learned.dynamics.points
    assert point.reached == learned.dynamics.starts
    assert point.residual < 1e-12
    assert point.spread < 1e-8
    assert point.stable
    # It is where the rule, left alone, ends up.
    long = learned.maps.follow(learned.maps.initial, np.zeros((1, 400)))[0][0, -1]
    np.testing.assert_allclose(long, point.h, rtol=0, atol=1e-10)


def test_a_sum_has_a_line_of_fixed_points():
    assert osc.explain(planted.AggregatedMomentum(1e-3, (1.0,)), osc.task("bowl")).dynamics.line


def test_a_trained_network_whose_gates_shut_far_out_has_one_fixed_point_and_no_line():
    found = osc.explain(osc.load("gru-rosenbrock"), osc.task("rosenbrock"))
    assert not found.dynamics.line
    (point,) = found.dynamics.points
    assert (point.reached, point.stable) == (found.dynamics.starts, True)
    assert point.spread < 1e-8
    # The jump of its inputs at g = 0 is no part of ∂F/∂h.
    beta = max(abs(m.beta) for m in found.modes.modes)
    assert beta == pytest.approx(abs(point.eigenvalues[0]), abs=1e-9)


def test_its_modes_answer_as_it_does(learned):
    small, k = 1e-7, np.arange(60)
    grads = np.zeros((2, 60))
    grads[1, 0] = small
    still, kicked = learned.maps.follow(learned.modes.h, grads)[1]
    np.testing.assert_allclose(learned.modes.response(k), (still - kicked) / small, rtol=0, atol=1e-6)


def test_its_few_terms_answer_nearly_as_its_modes(learned):
    k = np.arange(60)
    told = sum(alpha * beta**k for beta, alpha in learned.modes.terms)
    wanted = learned.modes.response(k)
    assert len(learned.modes.terms) <= 4
    assert np.sum((told - wanted) ** 2) < 0.02 * np.sum(wanted**2)


def test_its_saturation_and_s_curve(learned):
    assert learned.clipping.kind == "soft"
    assert np.isfinite(learned.clipping.limits).all()
    curve = learned.adaptation
    assert curve.left_out == 0
    assert (curve.residuals < 1e-10).all()
    assert (np.diff(curve.grads) > 0).all()


def test_the_same_rule_is_explained_in_the_same_words_twice(learned):
    again = osc.explain(planted.small_gru(), osc.task("quadratic"))
    assert again.verdict == learned.verdict
    np.testing.assert_array_equal(again.schedule.rates, learned.schedule.rates)


def test_a_rule_that_reads_the_sign_of_the_gradient_is_read_over_typical_gradients():
    found = osc.explain(osc.SignDescent(lr=0.1), osc.task("valley"))
    assert found.rest.probe == found.visits.size
    assert any("the step jumps at g = 0" in n for n in found.notes)
    assert found.schedule.rates[0] == pytest.approx(0.1 / found.visits.size)


def test_a_rule_that_reads_the_sign_of_what_it_remembers_is_not_said_to_remember_nothing():
    found = osc.explain(osc.Lion(), osc.task("valley"))
    assert found.modes is None
    assert any("the sign of what is remembered" in n for n in found.notes)
    assert found.verdict.sentence == "momentum not read, the sign alone, steps of 0.0001, no schedule, no adaptation"


def test_a_rule_that_looks_across_an_array_is_read_on_one_number_and_says_so():
    found = osc.explain(osc.ClipByNorm(osc.Momentum(), 0.5), osc.task("valley"))
    assert any("clipbynorm is not elementwise" in n for n in found.notes)
    np.testing.assert_allclose(found.clipping.limits, 0.5, rtol=1e-6)


def test_a_rule_that_diverges_is_explained_by_what_it_met_before():
    found = osc.explain(osc.GradientDescent(lr=100.0), osc.task("valley"))
    assert found.visits.diverged == 32
    assert any("32 of 32 runs on valley diverged" in n for n in found.notes)
    assert found.modes.terms == ((0.0, pytest.approx(100.0)),)


def test_a_state_without_a_fixed_point_leaves_the_rest_readable():
    found = osc.explain(planted.Drifting(), osc.task("valley"))
    assert found.modes is None
    assert found.dynamics.points == ()
    assert any("no fixed point: none was found" in n for n in found.notes)
    assert "momentum not read" in found.verdict.sentence
    assert found.schedule.shape == "constant"


def test_a_state_too_large_leaves_the_rest_readable(monkeypatch):
    from optiscope.explain import adaptation, explanation

    monkeypatch.setattr(explanation, "LARGEST", 8)
    monkeypatch.setattr(adaptation, "LARGEST", 8)
    found = osc.explain(planted.small_gru(), osc.task("quadratic"))
    assert found.modes is None
    assert any("its state of 12 numbers is larger than 8" in n for n in found.notes)
    assert found.clipping.kind == "soft"
    assert len(found.adaptation.grads) > 0


def test_bad_input():
    task = osc.task("valley")
    with pytest.raises(osc.BadInput, match="a rule is wanted"):
        osc.explain("adam", task)
    with pytest.raises(osc.BadInput, match="a task is wanted"):
        osc.explain(osc.Adam(), "valley")
    with pytest.raises(osc.BadInput, match="does not run on an array of one number"):
        osc.explain(planted.Matrix(), task)
    with pytest.raises(osc.BadInput, match="met no finite gradient on"):
        osc.explain(osc.Adam(), planted.hopeless())


def test_modes_that_decay_alike_are_one_term():
    from optiscope.explain.dynamics import dynamics, parts
    from optiscope.explain.rest import rest

    maps = dynamics(planted.AggregatedMomentum(0.02, (0.9, 0.9)))
    alone = rest(maps, parts(maps, 1.0), 1.0, 5)
    found = modes(alone.linear(alone.states[-2], 5), alone.parts.free, alone.states[-2])
    assert [(round(m.beta.real, 9), round(m.alpha.real, 9)) for m in found.modes if abs(m.alpha) > 1e-12] == [
        (0.9, 0.02)
    ]
