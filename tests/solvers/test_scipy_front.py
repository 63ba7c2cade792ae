"""The SciPy front: its answers are SciPy's, for functions of JAX and of NumPy."""

import dataclasses
import functools
import gc
import inspect
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import optiscope.frameworks.scipy as front
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


@pytest.mark.parametrize("name", ["minimize", "least_squares"])
def test_the_signatures_are_scipys(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (front, scipy.optimize))
    assert list(ours) == list(theirs)
    assert [p.kind for p in ours.values()] == [p.kind for p in theirs.values()]


def decay(p, np=np):
    """Residuals of which three are far off."""
    return p[0] * np.exp(-p[1] * T) - Y + 2 * (np.arange(T.size) % 5 == 1)


def decay_slopes(p, np=np):
    return np.stack([np.exp(-p[1] * T), -p[0] * T * np.exp(-p[1] * T)], -1)


@pytest.mark.parametrize("given", ["numpy", "jax", "numpy with its Jacobian", "jax with its Jacobian"])
@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan", "a function"])
def test_robust_losses(loss, given):
    def geman_mcclure(z):
        return jnp.stack([z / (1 + z), 1 / (1 + z) ** 2, -2 / (1 + z) ** 3])

    fun = functools.partial(decay, np=jnp if "jax" in given else np)
    slopes = functools.partial(decay_slopes, np=jnp if "jax" in given else np) if "Jac" in given else None
    loss, theirs = (geman_mcclure, lambda z: np.array(geman_mcclure(z))) if loss == "a function" else (loss, loss)
    start = [1.5, 0.7]
    tight = {"xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
    want = scipy.optimize.least_squares(decay, start, loss=theirs, f_scale=0.3, jac="3-point", **tight)
    found = least_squares(fun, start, slopes or "2-point", loss=loss, f_scale=0.3)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, want.x, rtol=1e-5)
    assert found.cost == pytest.approx(want.cost, rel=1e-9)
    np.testing.assert_allclose(found.fun, want.fun, atol=1e-5)
    # What it is for: JᵀJ tells of the loss, so Jᵀ of the bent residuals is its gradient.
    assert np.abs(found.grad).max() < 1e-6


def test_a_callback_sees_every_iterate():
    seen, whole = [], []
    found = minimize(scipy.optimize.rosen, X0, jac=scipy.optimize.rosen_der, callback=seen.append)
    assert len(seen) == found.nit
    np.testing.assert_array_equal(seen[-1], found.x)
    squares = least_squares(decay, [1, 1], callback=lambda intermediate_result: whole.append(intermediate_result))
    assert whole[-1].cost == squares.cost
    assert [r.nit for r in whole] == list(range(1, len(whole) + 1))


@pytest.mark.parametrize("solve", [functools.partial(minimize, rosen_jax), functools.partial(least_squares, decay)])
def test_a_callback_can_stop(solve):
    seen = []

    def third(x):
        seen.append(x)
        if len(seen) == 3:
            raise StopIteration

    found = solve(X0, callback=third)
    assert not found.success
    assert "StopIteration" in found.message
    assert len(seen) == 3
    np.testing.assert_array_equal(found.x, seen[-1])


@pytest.mark.parametrize("entrance", [minimize, least_squares])
def test_what_a_function_raises_comes_out(entrance):
    calls = []

    class Mine(Exception):
        pass

    def fails(x):
        calls.append(x)
        if len(calls) > 8:
            raise Mine("here")
        return np.sum(np.asarray(x.tolist()) ** 2)

    with pytest.raises(Mine, match="here"):
        entrance(fails, X0)
    # It was traced twice, where it failed on tolist, and not called again after it had raised.
    assert len(calls) == 9


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: [x[0] - 1, 2 * x[1]],
        lambda x: np.array(x.tolist()) - [1, 0],
        lambda x: [max(x.tolist()) - 1, x.min(initial=9.0)],
        lambda x, weight=2.0, kind="plain": [x[0] - 1, weight * x[1]] if kind == "plain" else None,
    ],
)
def test_functions_of_any_making(fun):
    found = least_squares(fun, [3.0, 2.0])
    np.testing.assert_allclose(np.sort(found.x), [0, 1], atol=1e-6)
    assert found.jac.shape == (2, 2)


def test_arguments_that_are_no_arrays():
    def residual(x, kind, shift, *, double=False):
        assert kind == "shifted"
        return (2 if double else 1) * (x - jnp.asarray(shift))

    found = least_squares(residual, [1.0, 1.0], args=("shifted", [3.0, 4.0]), kwargs={"double": True})
    np.testing.assert_allclose(found.x, [3, 4])
    np.testing.assert_allclose(found.jac, 2 * np.eye(2))
    assert minimize(lambda x, c: jnp.sum((x - c) ** 2), 1.0, args=3.0).x == pytest.approx(3)


def test_functions_of_more_unknowns_are_called_from_other_threads_too():
    """Where JAX's 64 bits, which are each thread's own, are off."""
    for seed in range(6):
        x0 = np.random.default_rng(seed).normal(size=10)
        found = minimize(scipy.optimize.rosen, x0)
        assert found.success
        assert minimize(scipy.optimize.rosen, x0, jac=scipy.optimize.rosen_der, method="L-BFGS-B").success
        assert found.nfev < 5 * scipy.optimize.minimize(scipy.optimize.rosen, x0).nfev


def test_a_numpy_function_is_called_anew_whatever_it_reads():
    class Line:
        def residual(self, x):
            return self.A @ x - self.b

    line = Line()
    line.A = np.eye(2)
    for b in ([1.0, 2.0], [3.0, 4.0]):
        line.b = np.array(b)
        np.testing.assert_allclose(least_squares(line.residual, [0, 0]).x, b, atol=1e-7)


def test_a_function_that_catches_what_jax_raises_is_called_as_it_is():
    def guarded(x):
        try:
            return np.exp(x) - 2
        except Exception:
            return np.full(2, 1e6)

    np.testing.assert_allclose(least_squares(guarded, [0, 1]).x, np.log(2), rtol=1e-7)


def test_functions_may_write_to_their_argument_and_keep_it():
    seen = []

    def absolute(x):
        np.abs(x, out=x)
        seen.append(x)
        return float(((x - 3) ** 2).sum())

    def both(x):
        x -= 3
        return float(x @ x), 2 * x

    def shifted(x):
        x -= 1
        return x

    x0 = np.array([-1.2, 1.0])
    np.testing.assert_allclose(np.abs(minimize(absolute, x0).x), 3, atol=1e-4)
    assert np.array(seen).shape[1:] == (2,)
    np.testing.assert_allclose(minimize(both, x0, jac=True).x, 3, atol=1e-6)
    np.testing.assert_allclose(least_squares(shifted, x0).x, 1)
    np.testing.assert_array_equal(x0, [-1.2, 1.0])


def test_all_numpy_functions_of_a_shape_share_a_program():
    from optiscope.solvers.programs import packed

    minimize(lambda x: float(x @ x), [1.0, 2.0, 3.0, 4.0])
    before = packed.cache_info().misses
    for shift in (1.0, 2.0):
        found = minimize(lambda x, shift=shift: float((x - shift) @ (x - shift)), [1.0, 2.0, 3.0, 4.0])
        np.testing.assert_allclose(found.x, shift, atol=1e-5)
    assert packed.cache_info().misses == before


def test_nothing_that_a_function_was_given_is_held():
    data = np.zeros(1000)
    left = weakref.ref(data)
    minimize(lambda x, data: float(x @ x) + data[0], [1.0, 2.0], args=(data,))
    del data
    gc.collect()
    assert left() is None


def test_functions_are_told_apart_however_they_compare():
    @dataclasses.dataclass
    class Squares:
        center: float

        def __call__(self, x):
            return jnp.sum((x - self.center) ** 2)

        def __eq__(self, other):
            return True

    for center in (2.0, 5.0):
        np.testing.assert_allclose(minimize(Squares(center), [0.0, 1.0]).x, center)


def test_noisy_fits_without_a_jacobian_succeed_as_scipys():
    t = np.linspace(0, 3, 40)
    for seed in (0, 4, 5, 6, 8, 9):
        rng = np.random.default_rng(seed)
        true = rng.uniform(0.5, 2, 4)
        y = true[0] * np.exp(-true[1] * t) + true[2] * np.exp(-true[3] * t) + 0.3 * rng.normal(size=40)
        x0 = true * rng.uniform(0.6, 1.6, 4)

        def residual(p, y=y):
            return p[0] * np.exp(-p[1] * t) + p[2] * np.exp(-p[3] * t) - y

        found, want = least_squares(residual, x0), scipy.optimize.least_squares(residual, x0)
        assert found.success
        assert found.cost < want.cost * (1 + 1e-8)


def test_solves_within_solves():
    def inner(x):
        return minimize(lambda z: float((z[0] - x[0]) ** 2) + (x[0] - 1) ** 2, [0.0]).fun

    np.testing.assert_allclose(minimize(inner, [3.0]).x, 1, atol=1e-5)


def test_arguments_are_taken_as_scipy_takes_them():
    assert minimize(lambda x, a: float((x[0] - sum(a)) ** 2), [0.0], args=[1.0, 2.0]).x == pytest.approx(3)
    np.testing.assert_allclose(least_squares(lambda x, a, b: x - a - b, [0.0], args=np.array([1.0, 2.0])).x, 3)
    assert minimize(lambda x: (x[0] - 3) ** 2, [5.0], bounds=[(0, 1)]).x == 1
    assert minimize(rosen_jax, X0, constraints=None, tol=1.0, options={"maxiter": 1e3}).success
    nested = least_squares(lambda x: jnp.stack([x[0] - 1, x[1]]), [3.0, 3.0], lambda x: [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(nested.x, [1, 0], atol=1e-8)
    sparse = least_squares(lambda x: x - [1, 2], [0, 0], lambda x: scipy.sparse.eye_array(2))
    np.testing.assert_allclose(sparse.x, [1, 2])


def test_arguments_are_told_apart_by_their_types():
    def residual(x, flag):
        assert isinstance(flag, bool | str) or np.shape(range(flag)) == (1,)
        return jnp.asarray(x) - (5 if flag is True else 7)

    for flag, root in ((True, 5), (1, 7), ("1", 7)):
        np.testing.assert_allclose(least_squares(residual, [0.0], args=(flag,)).x, root)


def test_differences_stay_within_the_bounds():
    def logarithm(x):
        assert np.all(x >= 0)
        return np.sqrt(np.asarray(x.tolist())) - [-1.0, 2.0]

    for method in ("trf", "dogbox"):
        found = least_squares(logarithm, [1.0, 1.0], bounds=(0, [9, 3]), method=method)
        np.testing.assert_allclose(found.x, [0, 3], atol=1e-6)
        assert found.active_mask.tolist() == [-1, 1]


def test_the_status_is_as_scipy_numbers_it():
    assert minimize(rosen_jax, X0).status == 0
    assert minimize(rosen_jax, X0, options={"maxiter": 2}).status == 1
    assert minimize(lambda x: jnp.sum(jnp.log(x)), [-1.0]).status == 3
    assert least_squares(decay, [1, 1]).status > 0
    assert least_squares(decay, [1, 1], max_nfev=2).status == 0
    # Residuals that leave a parameter open are solved all the same.
    assert least_squares(lambda x: x[:1] + x[1:] - 1, [3.0, 1.0]).success


def test_the_inverse_hessian_of_bfgs():
    want = scipy.optimize.minimize(scipy.optimize.rosen, X0, jac=scipy.optimize.rosen_der)
    found = minimize(rosen_jax, X0)
    exact = np.linalg.inv(scipy.optimize.rosen_hess(np.ones(3)))
    assert np.abs(found.hess_inv - exact).max() < max(2 * np.abs(want.hess_inv - exact).max(), 0.05)
    assert "hess_inv" not in minimize(rosen_jax, X0, method="CG")


def test_a_hessian_is_used():
    def wrong(x):
        return jnp.full((3, 3), jnp.nan)

    def right(x):
        return jax.hessian(rosen_jax)(x)

    for method in ("Newton-CG", "trust-exact"):
        assert minimize(rosen_jax, X0, method=method, hess=right).success
        assert not minimize(rosen_jax, X0, method=method, hess=wrong).success


def test_what_is_printed(capsys):
    assert capsys.readouterr().out == ""
    found = minimize(rosen_jax, X0, options={"disp": True})
    assert capsys.readouterr().out == found.message + "\n"
    found = least_squares(decay, [1, 1], verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["iteration", "cost", "step", "optimality"]
    assert float(lines[-2].split()[1]) == pytest.approx(found.cost)
    assert lines[-1] == found.message


def test_one_tolerance():
    loose, tight = least_squares(decay, [1, 1], ftol=1e-2, xtol=1e-2, gtol=None), least_squares(decay, [1, 1])
    assert loose.nfev < tight.nfev


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: minimize(rosen_jax, X0, constraints={"type": "eq"}), "constraints are not supported"),
        (lambda: minimize(rosen_jax, [X0]), "one dimension"),
        (lambda: minimize(rosen_jax, X0, options={"maxiter": 0}), "maxiter must be None or a whole number"),
        (lambda: minimize(lambda x: np.array(x.tolist()), X0), "must return one number"),
        (lambda: least_squares(rosen_jax, X0, bounds=5), "bounds must be"),
        (lambda: least_squares(rosen_jax, X0, loss="hubre"), "did you mean 'huber'"),
        (lambda: least_squares(lambda x: x - X0 + 0j, X0), "must return real numbers"),
        (lambda: minimize(rosen_jax, [1j]), "x0 must be real"),
        (lambda: least_squares(lambda x: np.append(x, x[:1]), X0, lambda x: np.ones((3, 4))), "of shape (4, 3)"),
        (lambda: least_squares(rosen_jax, X0, loss=np.sort), "loss must be written with jax.numpy"),
        (lambda: least_squares(rosen_jax, X0, max_nfev=-1), "max_nfev must be None or a whole number"),
        (lambda: minimize(rosen_jax, X0, method="BGFS"), "did you mean 'bfgs'"),
        (lambda: minimize(rosen_jax, X0, options={"maxit": 3}), "did you mean 'maxiter'"),
        (lambda: minimize(rosen_jax, X0, bounds=[(0, 1)] * 2), "each of the 3 variables, not 2"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(BadInput) as caught:
        call()
    assert says in str(caught.value)
