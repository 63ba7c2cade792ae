"""Momentum on a quadratic, against the closed forms of Polyak (1964)."""

import numpy as np
import pytest

from optiscope.errors import BadInput
from optiscope.view.play import modes

CURVATURES = [0.1, 0.35, 1.0]


def heavy_ball(lr, beta, curvature):
    """The roots of z² − (1 + β − αλ) z + β, the heavy ball's along an eigenvector."""
    return np.roots([1, -(1 + beta - lr * curvature), beta])


def test_the_plane_is_the_heavy_balls():
    found = modes.rates({"rule": "momentum", "curvatures": CURVATURES})
    for row, column in ((0, 10), (20, 40), (50, 70), (71, 3), (30, 107)):
        beta, lr = row / modes.SHAPE[0], modes.REACH * column / (modes.SHAPE[1] - 1)
        wanted = max(np.abs(heavy_ball(lr, beta, c)).max() for c in CURVATURES)
        assert found[row, column] == pytest.approx(wanted, rel=1e-6)


def test_the_edge_of_stability_is_at_two_times_one_plus_beta():
    found = modes.rates({"rule": "momentum", "curvatures": [1.0]})
    lr = np.linspace(0, modes.REACH, modes.SHAPE[1])
    for row in range(modes.SHAPE[0]):
        beta = row / modes.SHAPE[0]
        assert (found[row, 1:] < 1 - 1e-9).tolist() == (lr[1:] < 2 * (1 + beta)).tolist()


def test_the_best_point_has_polyaks_rate():
    low, high = np.sqrt([CURVATURES[0], CURVATURES[-1]])
    best = {"lr": (2 / (low + high)) ** 2, "momentum": ((high - low) / (high + low)) ** 2}
    found = modes.modes({"rule": "momentum", "curvatures": CURVATURES, **best})
    # At the optimum the extreme modes have a double root, which is found to the root of the precision.
    assert found["rate"] == pytest.approx((high - low) / (high + low), rel=1e-6)


def test_the_errors_are_the_recurrences():
    found = modes.modes({"rule": "nesterov", "curvatures": CURVATURES, "lr": 0.8, "momentum": 0.7})
    for curvature, errors in zip(CURVATURES, found["errors"], strict=True):
        x, v, wanted = 1.0, 0.0, [1.0]
        for _ in range(modes.STEPS):
            v_next = 0.7 * v - 0.8 * curvature * x
            x, v = x + 0.7 * v_next - 0.8 * curvature * x, v_next
            wanted.append(abs(x))
        np.testing.assert_allclose(errors, wanted, atol=1e-12)


def test_what_has_no_plane_is_refused():
    with pytest.raises(BadInput, match="rule must be one of"):
        modes.rates({"rule": "adam", "curvatures": CURVATURES})
