"""Levenberg–Marquardt against the certified values of NIST."""

import nist
import numpy as np
import pytest

import optiscope.solvers as solvers

EASY = ("Misra1a", "BoxBOD", "MGH10", "Lanczos1")


def check(name: str, start: int, method: str = "lm") -> None:
    c = nist.certified(name)
    s = solvers.least_squares(lambda b, x, y: c.model(b, x) - y, c.starts[start], c.data, method=method)
    assert nist.digits(s.x, c.parameters) >= 6
    # Lanczos1's residuals are 10⁻¹³ of data that float64 rounds at 10⁻¹⁶: no method can know their sum of squares, and
    # with it the errors, to more than three digits.
    assert nist.digits(s.standard_errors, c.errors) >= (2.4 if name == "Lanczos1" else 4)
    assert s.status.name == "converged"


def test_certified_residual_sums():
    """The models and the reader are right: the certified parameters give the certified sum of squares."""
    for name in nist.MODELS:
        c = nist.certified(name)
        x, y = c.data
        rss = float(np.sum((np.asarray(c.model(c.parameters, x)) - y) ** 2))
        # Eleven digits of the parameters leave residuals of 10⁻¹¹, more than Lanczos1 has.
        assert abs(rss - c.rss) <= 1e-6 * c.rss + 1e-20, name


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", EASY)
def test_lm_here(name, start):
    check(name, start)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", nist.MODELS)
def test_lm_everywhere(name, start):
    check(name, start)


def test_units_change_nothing():
    """Scaled variables: the same iterations to the same parameters."""
    c = nist.certified("Misra1a")
    units = np.array([1e-3, 1e6])
    x, y = c.data
    plain = solvers.least_squares(lambda b: c.model(b, x) - y, c.starts[0])
    scaled = solvers.least_squares(lambda b: c.model(b * units, x) - y, c.starts[0] / units)
    assert plain.iterations == scaled.iterations
    np.testing.assert_allclose(scaled.x * units, plain.x, rtol=1e-9)
    np.testing.assert_allclose(scaled.standard_errors * units, plain.standard_errors, rtol=1e-7)
