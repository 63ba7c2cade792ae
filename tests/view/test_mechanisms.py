"""The four figures: what is drawn is what was found."""

import numpy as np
import pytest

import optiscope as osc
from optiscope import view


@pytest.fixture(scope="module")
def found():
    rule = osc.ClipByValue(osc.Scheduled(osc.Nesterov(lr=0.1), lr=osc.Cosine(0.1, 200)), 0.5)
    return osc.explain(rule, osc.task("quadratic"))


def test_all_four_figures_stand_in_one(found):
    drawn = osc.figure(found)
    assert len(drawn.axes) == 8
    assert found.verdict.sentence in drawn._suptitle.get_text()


def test_the_state_space_has_every_eigenvalue_and_the_unit_circle(found):
    right = view.state_space(found).axes[1]
    circle = right.lines[0].get_xydata()
    np.testing.assert_allclose(np.hypot(*circle.T), 1, rtol=1e-12)
    drawn = {complex(*c.get_offsets()[0]) for c in right.collections}
    assert drawn == {m.beta for m in found.modes.modes}
    assert found.heavy_ball[1] in [line.get_xdata()[0] for line in right.lines]


def test_update_functions_pass_through_what_was_found(found):
    left = view.update_functions(found).axes[0]
    for function, line in zip(found.clipping.functions, left.lines, strict=False):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([function.grads, function.steps], 1))
    # The second is h*: flat beyond the clip.
    at_rest = found.clipping.functions[1]
    assert at_rest.label == "h*"
    flat = at_rest.steps[at_rest.grads > 0.5]
    assert np.ptp(flat) == 0


def test_the_schedule_lies_under_its_fit(found):
    curve, fit = view.autonomous(found).axes[0].lines
    np.testing.assert_array_equal(curve.get_ydata(), found.schedule.rates)
    np.testing.assert_allclose(fit.get_ydata(), curve.get_ydata(), atol=1e-8)


def test_the_arms_are_the_fixed_points_under_constant_gradients(found):
    right = view.arms(found).axes[1]
    told = np.concatenate([line.get_ydata() for line in right.lines])
    np.testing.assert_array_equal(np.sort(told), np.sort(found.adaptation.rates))
