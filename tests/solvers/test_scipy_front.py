"""The SciPy front: its answers are SciPy's, for functions of JAX and of NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from optiscope.errors import BadInput
from optiscope.frameworks.scipy import least_squares, minimize

X0 = [1.3, 0.7, 0.8]
T = np.linspace(0, 3, 12)
Y = 2 * np.exp(-0.8 * T) + 0.05 * np.cos(20 * T)


def rosen_jax(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "Newton-CG", "trust-exact"])
def test_numpy_functions_with_their_gradient(method):
    want = scipy.optimize.minimize(scipy.optimize.rosen, X0, jac=scipy.optimize.rosen_der, method="BFGS")
    found = minimize(scipy.optimize.rosen, X0, jac=scipy.optimize.rosen_der, method=method)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, want.x, atol=1e-4)
    assert set(want) - set(found) <= {"hess_inv"}


def test_jax_and_numpy_functions_without_one():
    for f in (rosen_jax, scipy.optimize.rosen):
        found = minimize(f, [1.3, 0.7, 0.6], bounds=[(None, 2), (0, None), (0.2, 0.7)])
        want = scipy.optimize.minimize(
            scipy.optimize.rosen, [1.3, 0.7, 0.6], bounds=[(None, 2), (0, None), (0.2, 0.7)], options={"ftol": 1e-13}
        )
        np.testing.assert_allclose(found.x, want.x, atol=1e-4)
        assert found.x[2] == 0.7


def test_least_squares_with_lists_of_bounds():
    box = ([0, 0], [1.5, 2])
    found = least_squares(lambda p: p[0] * np.exp(-p[1] * T) - Y, [1, 1], bounds=box)
    want = scipy.optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * T) - Y, [1, 1], bounds=box)
    np.testing.assert_allclose(found.x, want.x, atol=1e-5)
    assert found.success


def test_value_and_gradient_together():
    found = minimize(lambda x, c: (np.sum((x - c) ** 2), 2 * (x - c)), [1, 2], args=(3.0,), jac=True)
    np.testing.assert_allclose(found.x, 3)
    assert found.success


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_least_squares(method):
    def residual(p, t, y=None):
        return p[0] * np.exp(-p[1] * t) - y

    want = scipy.optimize.least_squares(residual, [1, 1], method=method, args=(T,), kwargs={"y": Y}, xtol=1e-12)
    found = least_squares(residual, [1, 1], method=method, args=(T,), kwargs={"y": Y})
    assert found.success
    np.testing.assert_allclose(found.x, want.x, rtol=1e-6)
    np.testing.assert_allclose(found.fun, want.fun, atol=1e-6)
    np.testing.assert_allclose(found.jac, want.jac, atol=1e-5)
    assert found.cost == pytest.approx(want.cost)
    assert set(want) - set(found) <= {"status"}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: minimize(rosen_jax, X0, constraints={"type": "eq"}), "constraints are not supported"),
        (lambda: minimize(rosen_jax, X0, callback=print), "callback"),
        (lambda: minimize(rosen_jax, X0, method="BGFS"), "did you mean 'bfgs'"),
        (lambda: minimize(rosen_jax, X0, options={"maxit": 3}), "did you mean 'maxiter'"),
        (lambda: minimize(rosen_jax, X0, bounds=[(0, 1)]), "each of the 3 variables, not 1"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(BadInput) as caught:
        call()
    assert says in str(caught.value)
