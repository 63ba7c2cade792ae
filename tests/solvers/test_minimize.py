"""`minimize` and `least_squares`: what they take, what they give, and how they end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import optiscope.solvers as solvers
from optiscope.errors import BadInput
from optiscope.solvers import CG, LBFGS, LM, NewtonCG, least_squares, minimize, solve_many

START = np.array([-1.2, 1.0])


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def rosenbrock_residual(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def bowl(x, center, weight):
    return jnp.sum(weight * (x - center) ** 2) + jnp.sum((x - center) ** 4)


MORE = [CG("fr"), CG("pr+"), CG("hs"), CG("dy"), CG(search=solvers.HagerZhang())]
ALL = [*solvers.MINIMIZERS, *(pytest.param(method, marks=pytest.mark.slow) for method in MORE)]


@pytest.mark.parametrize("method", ALL, ids=str)
def test_every_method_reaches_the_minimum(method):
    """A quartic bowl in six unknowns, whose minimiser is known."""
    center, weight = np.linspace(-1, 2, 6), np.linspace(1, 20, 6)
    s = minimize(bowl, np.zeros(6), (center, weight), method=method)
    assert s.ok, s.status
    np.testing.assert_allclose(s.x, center, atol=1e-7)
    assert s.gradient_norm <= 1.5e-8
    assert s.x.dtype == np.float64


@pytest.mark.parametrize("method", ["newton", "bfgs"])
def test_rosenbrock(method):
    s = minimize(rosenbrock, START, method=method)
    assert s.ok
    np.testing.assert_allclose(s.x, 1, atol=1e-7)


def test_a_pytree_start_and_float32():
    def f(tree):
        return jnp.sum((tree["a"] - 1) ** 2) + (tree["b"] - 2) ** 2 * jnp.exp(tree["b"])

    s = minimize(f, {"a": np.zeros((2, 3), np.float32), "b": np.float32(1)})
    assert s.ok
    assert s.x["a"].shape == (2, 3)
    assert s.x["a"].dtype == np.float32
    np.testing.assert_allclose(s.x["a"], 1, atol=1e-4)
    assert abs(float(s.x["b"]) - 2) < 1e-4


def test_least_squares_of_a_pytree_with_the_users_jacobian():
    t, y = np.linspace(0, 1, 7), np.linspace(1, 3, 7) ** 2

    def residual(p, t, y):
        return {"fit": p["a"] * t + p["b"] - y, "prior": p["a"][None] * 0.1}

    def jac(p, t, y):
        return jax.jacobian(residual)(p, t, y)

    x0 = {"a": np.array(0.0), "b": np.array(1.0)}
    automatic = least_squares(residual, x0, (t, y))
    given = least_squares(residual, x0, (t, y), jac=jac)
    A = np.vstack([np.stack([t, np.ones(7)], 1), [0.1, 0]])
    want, rss, *_ = np.linalg.lstsq(A, np.append(y, 0))
    for s in (automatic, given):
        assert s.ok
        np.testing.assert_allclose([s.x["a"], s.x["b"]], want, rtol=1e-10)
        # Linear regression: the covariance in closed form.
        np.testing.assert_allclose(s.covariance, rss[0] / (8 - 2) * np.linalg.inv(A.T @ A), rtol=1e-8)


def test_the_users_gradient_and_product_are_called():
    calls = []

    def jac(x):
        calls.append("jac")
        return jax.grad(rosenbrock)(x)

    def hvp(x, v):
        calls.append("hvp")
        return jax.jvp(jax.grad(rosenbrock), (x,), (v,))[1]

    assert minimize(rosenbrock, START, method="newton", jac=jac, hvp=hvp).ok
    assert {"jac", "hvp"} <= set(calls)


def test_history_and_counts():
    s = minimize(rosenbrock, START, method="bfgs", history=True)
    h = s.history
    assert h.value.shape == (s.iterations + 1,)
    assert h.value[0] == pytest.approx(24.2)
    assert h.value[-1] == s.value
    assert (np.diff(h.value) < 0).all()
    assert (h.curvature[1:] > 0).all()
    assert s.evaluations.function >= s.iterations
    counted = []

    def f(x):
        jax.debug.callback(lambda: counted.append(1))
        return rosenbrock(x)

    s = minimize(f, START, method=LBFGS(memory=3))
    # Its gradient's value, once each; and, at the end, the products and the one gradient that certify the minimum.
    assert len(counted) == s.evaluations.function + s.evaluations.hvp + 1
    h = least_squares(rosenbrock_residual, START, history=True).history
    assert np.nanmax(h.ratio) <= 1.5
    assert (np.diff(h.value) <= 1e-14 * h.value[0]).all()


@pytest.mark.parametrize("method", ["lm", "gauss-newton", "dogleg", LM("nielsen"), LM(accelerate=True)], ids=str)
def test_least_squares_methods(method):
    s = least_squares(rosenbrock_residual, START, method=method)
    assert s.ok
    np.testing.assert_allclose(s.x, 1, atol=1e-9)


def test_bounds_agree_with_scipy():
    box = np.array([-2.0, -2, -2, -2]), np.array([0.5, 2, 0.3, 2])
    x0 = np.array([0.2, 0.2, 0.1, 0.1])
    want = scipy.optimize.minimize(
        scipy.optimize.rosen, x0, jac=scipy.optimize.rosen_der, method="L-BFGS-B", bounds=list(zip(*box, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip

    def rosen(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def residual(x):
        return jnp.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])

    s = minimize(rosen, x0, method="lbfgs", bounds=box)
    assert s.ok, s.status
    np.testing.assert_allclose(s.x, want.x, atol=1e-6)
    s = least_squares(residual, x0, bounds=box)
    assert s.ok, s.status
    np.testing.assert_allclose(s.x, want.x, atol=1e-6)
    held = (s.x == box[0]) | (s.x == box[1])
    assert held.any()
    assert (np.isnan(s.standard_errors) == held).all()


def status(f, x0, method):
    return minimize(f, np.array(x0), method=method).status.name


HOW_IT_ENDS = {
    "constant": (lambda x: 0 * x[0] + 3, [1.0, 2.0], {"flat"}),
    "linear": (lambda x: x[0] + 2 * x[1], [1.0, 2.0], {"unbounded"}),
    "concave": (lambda x: -(x[0] ** 2) - x[1] ** 2, [1.0, 2.0], {"unbounded"}),
    "falls without end, slowly": (lambda x: -jnp.log(x[0]) + x[1] ** 2, [1.0, 2.0], {"flat", "unbounded"}),
    "falls towards infinity": (lambda x: jnp.exp(-x[0]) + x[1] ** 2, [1.0, 2.0], {"flat", "iterations"}),
    "far from everything": (lambda x: -jnp.exp(-x @ x), [30.0, 30.0], {"flat"}),
    "NaN at the start": (lambda x: jnp.log(x[0]) + x[1] ** 2, [-3.0, 2.0], {"not finite"}),
    "the edge of a domain": (lambda x: jnp.sqrt(x[0]) + x[1] ** 2, [3.0, 2.0], {"edge", "stalled"}),
    "a domain around the minimum": (lambda x: x[0] - jnp.log(x[0]) + x[1] ** 2, [3.0, 2.0], {"converged"}),
    "start at the solution": (lambda x: jnp.sum((x - 1) ** 2), [1.0, 1.0], {"converged"}),
    "start near the solution": (lambda x: jnp.sum((x - 1) ** 2), [1.0 + 1e-9, 1.0], {"converged"}),
    "start at the origin": (lambda x: jnp.sum(x**2) + 5, [0.0, 0.0], {"converged"}),
    "singular Hessian": (lambda x: (x[0] + x[1] - 1) ** 2, [3.0, 2.0], {"converged"}),
    "monkey saddle": (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, [0.0, 0.0], {"flat"}),
    "tiny units": (lambda x: 1e-20 * rosenbrock(x), START, {"converged"}),
    "huge units": (lambda x: 1e20 * rosenbrock(x), START, {"converged"}),
    "large offset": (lambda x: 1e8 + rosenbrock(x), START, {"converged"}),
}


def any_case(x, which):
    return jax.lax.switch(which, [f for f, *_ in HOW_IT_ENDS.values()], x)


@pytest.mark.parametrize("method", ["newton", "newton-cg", "cg", "bfgs", "lbfgs"])
def test_how_it_ends(method):
    for i, (case, (_, x0, ends)) in enumerate(HOW_IT_ENDS.items()):
        s = minimize(any_case, np.array(x0), (np.int32(i),), method=method)
        assert s.status.name in ends, (case, str(s.status), s.x)


def test_newton_cg_learns_a_preconditioner_from_its_products():
    scales = jnp.logspace(0, 4, 40)

    def f(x):
        return jnp.sum(scales * (x**2 + x**4))

    plain, taught = (minimize(f, np.full(40, 2.0), method=NewtonCG(memory=m)) for m in (0, 20))
    assert plain.ok
    assert taught.ok
    assert taught.evaluations.hvp < 0.8 * plain.evaluations.hvp


@pytest.mark.parametrize("x0", [[0.0, 0.0], [1.0, 0.0]])
def test_saddles(x0):
    def f(x):
        return x[0] ** 2 - x[1] ** 2 + x[1] ** 4

    assert status(f, x0, "bfgs") == "saddle"
    assert status(f, x0, "newton-cg") == "saddle"
    s = minimize(f, np.array(x0), method="newton")
    assert s.ok
    assert s.value == pytest.approx(-0.25)


def test_a_saddle_of_many_variables():
    """More variables than are all examined: negative curvature along one of fifty."""

    def f(x):
        return jnp.sum(x**2) - 1.5 * x[17] ** 2 + x[17] ** 4

    assert status(f, np.zeros(50), "lbfgs") == "saddle"
    assert status(lambda x: jnp.sum(x**2), np.zeros(50), "lbfgs") == "converged"


SQUARES = {
    "rank": (lambda x: jnp.stack([x[0] + x[1] - 1, 2 * (x[0] + x[1] - 1), x[0] + x[1]]), [3.0, 2.0], "rank deficient"),
    "an unused parameter": (lambda x: jnp.stack([x[0] - 1, x[0] - 2, x[0] + 0 * x[1]]), [3.0, 2.0], "rank deficient"),
    "too few residuals": (lambda x: jnp.stack([x[0] + x[1] ** 2 - 1]), [3.0, 2.0], "rank deficient"),
    "towards infinity": (lambda x: jnp.stack([jnp.exp(-x[0]), x[1], 1 + 0 * x[0]]), [1.0, 2.0], "flat"),
    "NaN at the start": (lambda x: jnp.stack([jnp.log(x[0]), x[1], x[0]]), [-1.0, 2.0], "not finite"),
    "start at the solution": (lambda x: jnp.stack([x[0] - 1, x[1] - 2, x[0] - 1]), [1.0, 2.0], "converged"),
    "no root": (lambda x: jnp.stack([x[0] ** 2 + 1, x[1]]), [3.0, 2.0], "converged"),
    "a singular root": (lambda x: jnp.stack([x[0] ** 2, x[1] ** 2]), [3.0, 2.0], "converged"),
}


@pytest.mark.parametrize("case", SQUARES)
def test_how_least_squares_end(case):
    f, x0, end = SQUARES[case]
    s = least_squares(f, np.array(x0))
    assert s.status.name == end
    if case == "an unused parameter":
        assert np.isnan(s.standard_errors).tolist() == [False, True]


@pytest.mark.parametrize("case", ["towards infinity", "no root"])
def test_an_end_in_doubt_is_examined_alike_under_jit(case):
    f, x0, end = SQUARES[case]
    alone, traced = least_squares(f, np.array(x0)), jax.jit(lambda x: least_squares(f, x))(np.array(x0))
    assert alone.status.name == traced.status.name == end
    assert alone.evaluations.hvp > 0
    assert (*alone.evaluations, alone.cost) == (*map(int, traced.evaluations), int(traced.cost))


def double_well(x):
    """½‖r‖² has a maximum at 0, where J has full rank, and minima at ±√2.5."""
    return jnp.stack([x[0] ** 2 - 3, x[0]])


SADDLES = {
    "a maximum": (double_well, [0.0]),
    "a maximum where J is 0": (lambda x: x**2 - 1, [0.0]),
    "along a ridge": (lambda x: jnp.append(double_well(x), x[1] - 5), [0.0, 1.0]),
    "along a ridge askew": (
        lambda x: jnp.append(double_well((x[:1] - x[1:]) / 2), x[0] + 2 * x[1] - 5),
        [1.0, 1.0],
    ),
    "where J is a rotation": (lambda x: jnp.append(double_well(x[:1] - x[1:]), x[0] + x[1] - 5), [0, 0]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", solvers.LEAST_SQUARES)
@pytest.mark.parametrize("case", SADDLES)
def test_least_squares_that_end_on_a_saddle_say_so(case, method, dtype):
    f, x0 = SADDLES[case]
    x0 = np.array(x0, dtype)
    assert least_squares(f, x0, method=method).status.name == "saddle"
    beside = least_squares(f, x0 + np.array([0.2, 0.1], dtype)[: x0.size], method=method)
    assert beside.status.name == "converged"
    assert beside.value < (least_squares(f, x0, method=method).value / 2)


def test_only_an_end_with_a_residual_is_examined():
    assert least_squares(double_well, np.array([1.0])).evaluations.hvp == 1
    assert least_squares(lambda x: double_well(x)[:1], np.array([1.0])).evaluations.hvp == 0


@pytest.mark.parametrize("method", ["lm", "dogleg"])
@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
def test_a_start_at_the_origin_is_the_same_in_any_unit_of_the_residual(method, unit):
    x = np.linspace(0, 3, 30)
    y = 2.5 * np.exp(-1.3 * x) + 0.5

    def residual(p, unit):
        return unit * (p[0] * jnp.exp(-p[1] * x) + p[2] - y)

    plain, scaled = (least_squares(residual, np.zeros(3), (k,), method=method) for k in (1.0, unit))
    assert plain.ok
    assert scaled.iterations == plain.iterations
    np.testing.assert_array_equal(scaled.x, plain.x)


@pytest.mark.parametrize("method", solvers.LEAST_SQUARES)
def test_a_far_start_is_not_taken_for_a_root(method):
    """At e⁴⁰ the residual's rounding is larger than its value at the solution."""
    s = least_squares(lambda x: jnp.exp(x) - 2.0, np.array([40.0]), method=method)
    assert s.status.name == "converged"
    np.testing.assert_allclose(s.x, [np.log(2)], rtol=1e-7)


@pytest.mark.parametrize("method", [LM(), LM("nielsen"), LM(accelerate=True)], ids=repr)
def test_a_step_that_bounds_turn_uphill_is_shortened(method):
    x = np.linspace(0, 4, 40)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.05 * np.random.default_rng(0).normal(size=40)

    def residual(p):
        return p[0] * jnp.exp(-p[1] * x) + p[2] - y

    upper = np.array([2.0, 1.0, 10.0])
    ours = least_squares(residual, np.array([1.0, 0.5, 0.7]), method=method, bounds=(np.zeros(3), upper))
    theirs = scipy.optimize.least_squares(lambda p: np.asarray(residual(p)), [1, 0.5, 0.7], bounds=(0, upper))
    assert ours.status.name == "converged"
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-5)


def test_ill_conditioned_fits_in_a_box_reach_the_bounded_minimum():
    """Polynomials of degree 9 on [0, 3], each coefficient between bounds that hold most of them."""
    A = np.vander(np.linspace(0, 3, 30), 10)

    def residual(p, y):
        return A @ p - y

    for seed in range(24):
        rng = np.random.default_rng(seed)
        y = A @ rng.uniform(0, 2, 10) + 0.1 * rng.normal(size=30)
        s = least_squares(residual, rng.uniform(0.6, 1.8, 10), (y,), bounds=(0.6, 1.8))
        assert s.ok, (seed, s.status)
        best = scipy.optimize.lsq_linear(A, y, (0.6, 1.8), method="bvls", tol=1e-15, max_iter=1000)
        assert s.value <= best.cost * (1 + 1e-9)


def test_a_minimum_in_a_corner_of_the_bounds_converges():
    s = minimize(lambda x: jnp.sum((x - 2) ** 2), np.array([0.5, 0.2]), method="lbfgs", bounds=(0.0, 1.0))
    assert s.status.name == "converged"
    np.testing.assert_array_equal(s.x, 1.0)


@pytest.mark.parametrize(("dtype", "k"), [(np.float64, 1e-156), (np.float32, 1e-20), (np.float32, 1e20)])
@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "newton-cg"])
def test_a_saddle_is_seen_in_any_units(dtype, k, method):
    def f(x, k):
        steep, round_ = jnp.where(k > 1, k, 1.0), jnp.where(k > 1, 0.0, k)
        return steep * x[0] * x[1] + round_ * (x[0] ** 2 + x[1] ** 2) / 2 + x[2] ** 2

    assert minimize(f, np.zeros(3, dtype), (dtype(k),), method=method).status.name == "saddle"


def test_least_squares_at_the_edge_of_a_domain():
    s = least_squares(lambda x: jnp.stack([jnp.sqrt(x[0]) + 1, x[1], 1 + 0 * x[0]]), np.array([3.0, 2.0]))
    assert not s.ok


def test_ran_out():
    s = minimize(rosenbrock, START, max_iterations=3)
    assert s.status.name == "iterations"
    assert s.iterations == 3
    assert "max_iterations" in s.status.sentence


@pytest.mark.parametrize("method", ["gauss-newton", "lm"])
def test_refused_trials_run_out_too(method):
    """Jennrich & Sampson's problem, on whose start a Gauss–Newton step must be halved often."""
    k, x0 = np.arange(1.0, 11), np.array([0.3, 0.4])

    def residual(x):
        return 2 + 2 * k - jnp.exp(k * x[0]) - jnp.exp(k * x[1])

    for most in (3, 4, 5, 6, 7, 8):
        s = least_squares(residual, x0, method=method, max_iterations=most)
        assert s.status.name == "iterations"
        assert s.iterations == most


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: minimize(lambda x: x**2, START), "one number, not an array of shape (2,)"),
        (lambda: minimize(rosenbrock, np.array([1, 2])), "x0.astype(float)"),
        (lambda: minimize(rosenbrock, np.array([])), "x0 is empty"),
        (lambda: minimize(rosenbrock, START, method="bgfs"), "did you mean 'bfgs'?"),
        (lambda: minimize(rosenbrock, START, method="lm"), "'lm' is no method of minimize"),
        (lambda: least_squares(rosenbrock_residual, START, method="bfgs"), "no method of least_squares"),
        (lambda: minimize(rosenbrock, START, method="bfgs", bounds=(0, 1)), "'lbfgs' and 'lm' alone"),
        (lambda: minimize(rosenbrock, START, method="lbfgs", bounds=(0, 2)), "variable 0 is -1.2, not in [0, 2]"),
        (lambda: minimize(rosenbrock, START, method="lbfgs", bounds=(3, 2)), "is above its upper bound"),
        (lambda: minimize(rosenbrock, START, method="lbfgs", bounds=3), "bounds must be (lower, upper)"),
        (lambda: minimize(rosenbrock, START, max_iterations=0), "whole number ≥ 1, not 0"),
        (lambda: minimize(rosenbrock, START, tol=2.0), "tol must be a number in [0, 1)"),
        (lambda: minimize(rosenbrock, START, args=3), "args must be a tuple"),
        (lambda: minimize(lambda x: float(np.exp(x[0])), START), "written with jax.numpy"),
        (lambda: minimize(lambda x: x[0] if x[0] > 0 else -x[0], START), "use jnp.where"),
        (lambda: least_squares(lambda x: x[x > 0], START), "must not change its length"),
        (lambda: least_squares(lambda x: x[:0], START), "residual returned nothing"),
        (lambda: least_squares(lambda x: x * 1j, START), "real numbers"),
        (lambda: least_squares(rosenbrock_residual, START, jac=lambda x: x), "2 × 2 numbers"),
        (lambda: minimize(rosenbrock, START, jac=lambda x: x[:1]), "x0's structure, 2 numbers, not 1"),
        (lambda: CG("xx"), "beta of CG"),
        (lambda: LM("xx"), "damping of LM"),
        (lambda: LBFGS(memory=0), "whole number ≥ 1"),
        (lambda: NewtonCG(memory=-1), "whole number ≥ 0"),
        (lambda: solve_many(rosenbrock, np.float64(1.0)), "leading axis"),
        (lambda: solve_many(bowl, np.ones((3, 2)), (np.ones((2, 2)), 1.0), in_axes=(0, None)), "equally many lanes"),
        (lambda: solve_many(bowl, np.ones((3, 2)), (1.0, 1.0), in_axes=(0,)), "one for each of the 2 args"),
    ],
)  # fmt: skip
def test_bad_input(call, says):
    with pytest.raises(BadInput) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jit_and_vmap():
    starts = np.random.default_rng(0).uniform(-2, 2, (5, 2))
    alone = [minimize(rosenbrock, x0, method="bfgs") for x0 in starts]
    batch = jax.jit(jax.vmap(lambda x0: minimize(rosenbrock, x0, method="bfgs")))(starts)
    for i, s in enumerate(alone):
        np.testing.assert_allclose(batch.x[i], s.x, atol=1e-9)
        assert batch.iterations[i] == s.iterations
    assert "5 × converged" in str(batch.status)


def test_a_function_of_what_jax_traces_from_a_start_that_it_does_not():
    @jax.jit
    def lowest(center):
        return minimize(lambda x: jnp.sum((x - center) ** 2), np.zeros(2)).x

    np.testing.assert_allclose(lowest(jnp.array([3.0, -1.0])), [3.0, -1.0], atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lowest)(jnp.arange(6.0).reshape(3, 2)), np.arange(6).reshape(3, 2), atol=1e-5)


def test_many_starts_end_as_alone():
    starts = np.random.default_rng(0).uniform(-2, 2, (150, 2))
    many = solve_many(rosenbrock, starts)
    assert many.ok.all()
    assert many.x.shape == (150, 2)
    for i in (0, 77, 149):
        alone = minimize(rosenbrock, starts[i], method="lbfgs")
        np.testing.assert_allclose(many.x[i], alone.x, atol=1e-8)
        assert many.iterations[i] == alone.iterations
        assert many.evaluations.function[i] == alone.evaluations.function


def test_many_problems():
    """Thousands of fits, each with its own data, against the closed form."""
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(40, 9)), rng.normal(size=(40, 9))
    s = solve_many(lambda p, t, y: p[0] * t + p[1] - y, np.ones((40, 2)), (t, y), method="lm", in_axes=0)
    assert s.ok.all()
    for i in range(40):
        np.testing.assert_allclose(s.x[i], np.polyfit(t[i], y[i], 1), rtol=1e-8)
    assert s.standard_errors.shape == (40, 2)


@pytest.mark.parametrize("method", ["bfgs", "newton"])
def test_implicit_gradients(method):
    """dx*/dθ through the solution, against central differences of it."""

    def solution(theta):
        def f(x, theta):
            return jnp.sum((x - jnp.sin(theta)) ** 4) + jnp.sum(theta**2 * x**2) + x[0] * x[1] * theta[0]

        return minimize(f, np.array([0.3, 0.4]), (theta,), method=method, tol=1e-13)

    theta = np.array([1.1, 0.7])
    J = np.asarray(jax.jacobian(lambda t: solution(t).x)(theta))
    g = np.asarray(jax.grad(lambda t: solution(t).value)(theta))
    h = 1e-4
    for i in range(2):
        d = h * np.eye(2)[i]
        ahead, behind = solution(theta + d), solution(theta - d)
        np.testing.assert_allclose(J[:, i], (ahead.x - behind.x) / (2 * h), atol=1e-6)
        np.testing.assert_allclose(g[i], (ahead.value - behind.value) / (2 * h), atol=1e-6)


def test_implicit_gradients_of_a_fit_and_of_a_bound():
    t = np.linspace(0, 2, 9)
    y = np.exp(-0.7 * t) + 0.1 * np.cos(9 * t)

    def fit(y):
        return least_squares(lambda b, y: b[0] * jnp.exp(-b[1] * t) - y, np.array([1.0, 1.0]), (y,)).x

    J = np.asarray(jax.jacobian(fit)(y))
    for i in (0, 4):
        d = 2e-5 * np.eye(9)[i]
        np.testing.assert_allclose(J[:, i], (fit(y + d) - fit(y - d)) / 4e-5, atol=1e-6)

    def bounded(upper):
        def f(x):
            return (x[0] - 3) ** 2 + (x[1] - x[0]) ** 2

        return minimize(f, np.array([0.0, 0.0]), method="lbfgs", bounds=(None, jnp.stack([upper, 9.0]))).x

    np.testing.assert_allclose(jax.jacobian(bounded)(1.5), [1.0, 1.0], atol=1e-6)


def mlp(p, x):
    """1–16–1 with tanh, its 49 weights in a vector."""
    w, b, v = p[:16], p[16:32], p[32:48]
    return jnp.tanh(x[:, None] * w[None, :] + b[None, :]) @ v + p[48]


@pytest.mark.slow
def test_lm_beats_bfgs_on_a_network():
    x = np.linspace(-2, 2, 200)
    y = np.sin(3 * x) + 0.3 * x**2
    p0 = np.random.default_rng(0).normal(size=49)

    def residual(p):
        return mlp(p, x) - y

    lm = least_squares(residual, p0, max_iterations=2000)
    bfgs = minimize(lambda p: jnp.sum(residual(p) ** 2) / 2, p0, max_iterations=2000)
    assert lm.value < bfgs.value
