"""Line searches on functions of one variable, against their own conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optiscope.solvers import Backtracking, HagerZhang, StrongWolfe
from optiscope.solvers.linesearch import ACCEPT, FAIL, SEARCH

# Moré & Thuente (1994, ACM TOMS 20, section 5): functions on which searches are hard.
BETA = 0.004


def gamma(b):
    return np.sqrt(1 + b**2) - b


def yanai(b1, b2):
    return lambda t: gamma(b1) * jnp.sqrt((1 - t) ** 2 + b2**2) + gamma(b2) * jnp.sqrt(t**2 + b1**2)


FUNCTIONS = {
    "rational": lambda t: -t / (t**2 + 2),
    "quintic": lambda t: (t + BETA) ** 5 - 2 * (t + BETA) ** 4,
    "yanai-1": yanai(0.001, 0.001),
    "yanai-2": yanai(0.01, 0.001),
    "yanai-3": yanai(0.001, 0.01),
    "parabola": lambda t: (t - 3.0) ** 2,
    "logarithm": lambda t: t / 2 - jnp.log(t + 1),
    "domain": lambda t: jnp.where(t < 2, -jnp.sqrt(jnp.abs(2 - t)) * t, jnp.nan),
}


def search(how, f, t):
    """The accepted t and the trials made."""
    both = jax.jit(jax.value_and_grad(f))
    value, slope = both(0.0)
    state = how.begin(value, slope)
    for trials in range(1, 60):
        state, following, verdict = how.judge(state, jnp.asarray(t), *both(t))
        if verdict != SEARCH:
            return (float(t) if verdict == ACCEPT else None), trials
        t = float(following)
    raise AssertionError("the search did not end")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("first", [1e-3, 1e-1, 1.0, 10.0, 1e3])
def test_conditions(name, first):
    f = FUNCTIONS[name]
    value, slope = jax.value_and_grad(f)(0.0)
    for how in (StrongWolfe(c1=1e-3, c2=0.1), StrongWolfe(), Backtracking(), HagerZhang()):
        t, trials = search(how, f, first)
        assert t is not None, how
        assert t > 0
        assert trials <= 30, (how, trials)
        here, there = float(f(t)), float(jax.grad(f)(t))
        if isinstance(how, HagerZhang):
            assert there >= how.sigma * slope - 1e-12
            assert here <= value + how.delta * t * slope + 1e-12 or there <= (2 * how.delta - 1) * slope
        else:
            assert here <= value + how.c1 * t * slope + 1e-12
        if isinstance(how, StrongWolfe):
            assert abs(there) <= -how.c2 * slope + 1e-12


def test_a_function_that_only_rises():
    """A wrong gradient: no search accepts, and each says so."""
    for how in (StrongWolfe(), Backtracking(), HagerZhang()):
        state, t = how.begin(jnp.asarray(0.0), jnp.asarray(-1.0)), 1.0
        for _ in range(60):
            state, t, verdict = how.judge(state, jnp.asarray(t), jnp.asarray(float(t)), jnp.asarray(1.0))
            if verdict != SEARCH:
                break
        assert verdict == FAIL, how


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    st.floats(0.01, 10),
    st.sampled_from([StrongWolfe(), StrongWolfe(c2=0.1), HagerZhang()]),
)
@example([0.0, 1.0, 1.0, 1.0], 1.0, StrongWolfe())  # x (x − 1)³: at 1 the slope vanishes at the height of 0
def test_random_quartics(roots, first, how):
    """Any quartic that goes up at both ends and down at 0 has a point that meets the conditions."""
    coefficients = np.polynomial.polynomial.polyfromroots(roots)
    p = np.polynomial.Polynomial(coefficients if coefficients[1] < -1e-3 else coefficients * [1, -1, 1, -1, 1])
    if not p.deriv()(0.0) < -1e-3:
        return
    state, t = how.begin(jnp.asarray(p(0.0)), jnp.asarray(p.deriv()(0.0))), first
    for _ in range(60):
        state, following, verdict = how.judge(state, jnp.asarray(t), jnp.asarray(p(t)), jnp.asarray(p.deriv()(t)))
        if verdict != SEARCH:
            break
        t = float(following)
    assert verdict == ACCEPT
    # Lower; or a tie but for rounding, which Hager & Zhang's approximate conditions take where the slope has eased.
    tie = abs(p(t) - p(0.0)) <= 10 * np.finfo(float).eps * abs(p(0.0))
    assert p(t) < p(0.0) or (tie and abs(p.deriv()(t)) <= -0.9 * p.deriv()(0.0))
