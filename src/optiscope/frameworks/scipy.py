"""The SciPy front: `minimize` and `least_squares` with SciPy's signatures and results, for a change of one line.

    from optiscope.frameworks.scipy import minimize

A function written with `jax.numpy` is compiled and differentiated. Any other, such as one written with NumPy, is called
from the compiled solver as it is, and differentiated by central differences where no `jac` is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from .. import solvers
from ..errors import BadInput, unknown
from ..solvers.walk import Method

METHODS: dict[str, Method] = {
    "bfgs": solvers.BFGS(),
    "l-bfgs-b": solvers.LBFGS(),
    "cg": solvers.CG("pr+"),
    "newton-cg": solvers.NewtonCG(),
    "trust-ncg": solvers.NewtonCG(),
    "trust-krylov": solvers.NewtonCG(),
    "trust-exact": solvers.Newton(),
}
LEAST_SQUARES: dict[str, Method] = {"lm": solvers.LM(), "trf": solvers.LM(), "dogbox": solvers.Dogleg()}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str | None = None,
    jac: Callable[..., Any] | bool | str | None = None,
    hess: Any = None,
    hessp: Callable[..., Any] | None = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Any = None,
    options: dict[str, Any] | None = None,
) -> OptimizeResult:
    """`scipy.optimize.minimize`, by Optiscope's solvers.

    Args:
        fun: (x, *args) → a number, or (number, gradient) with jac=True.
        method: "BFGS", "L-BFGS-B", "CG", "Newton-CG", "trust-ncg", "trust-krylov" or "trust-exact"; by default L-BFGS-B
            with bounds, BFGS without.
        jac: (x, *args) → the gradient, or True; otherwise by automatic or central differentiation.
        hess: not used: the methods that want a Hessian compute its products.
        hessp: (x, p, *args) → the Hessian times p, for a `jax.numpy` function.
        bounds: a `scipy.optimize.Bounds`, or a (low, high) pair for each variable, None for no bound; L-BFGS-B alone
            takes them.
        tol: the gradient tolerance, as in `optiscope.solvers.minimize`; by default 1e-5 where the gradient is
            differenced.
        options: "maxiter", "gtol"; "disp" is ignored.

    Raises:
        BadInput: an argument that these solvers do not have: constraints, a callback, another method or option.
    """
    if _given(constraints):
        raise BadInput("constraints are not supported, only bounds with method='L-BFGS-B'; use scipy.optimize.minimize")
    if callback is not None:
        raise BadInput(
            "a callback cannot be called from a compiled solver; optiscope.solvers.minimize has history=True instead"
        )
    box = _box(bounds, np.size(x0))
    chosen = _method(method or ("BFGS" if box is None else "L-BFGS-B"), METHODS)
    options = _options(options)
    x0, args = _start(x0), args if isinstance(args, tuple) else (args,)
    both, fun = fun, _value(fun) if jac is True else fun
    gradient = _gradient(both) if jac is True else jac if callable(jac) else None
    traceable = _traceable(fun, x0, args) and (gradient is None or _traceable(gradient, x0, args))
    differenced = not traceable and gradient is None
    if not traceable:
        fun, gradient, hessp = _foreign(fun, gradient, (), args), None, None
        args = ()
    s = solvers.minimize(
        fun,
        x0,
        args,
        method=chosen,
        jac=gradient,
        hvp=hessp,
        bounds=box,
        tol=options.get("gtol", 1e-5 if tol is None and differenced else tol),
        max_iterations=options.get("maxiter", 1000),
    )
    return OptimizeResult(
        x=s.x,
        fun=float(s.value),
        jac=s.gradient,
        nit=int(s.iterations),
        nfev=int(s.evaluations.function),
        njev=int(s.evaluations.gradient),
        nhev=int(s.evaluations.hvp),
        **_ending(s),
    )


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Callable[..., Any] | str = "2-point",
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    xtol: float | None = None,
    max_nfev: int | None = None,
    args: tuple = (),
    kwargs: dict[str, Any] | None = None,
) -> OptimizeResult:
    """`scipy.optimize.least_squares`, by Optiscope's solvers.

    Args:
        fun: (x, *args, **kwargs) → the residuals, shape (m,).
        jac: (x, *args, **kwargs) → the Jacobian, shape (m, n); otherwise by automatic or central differentiation.
        bounds: a `scipy.optimize.Bounds`, or (low, high); "lm" and "trf", which are one here, take them.
        method: "lm", "trf" or "dogbox", which is Powell's dogleg.
        xtol: the tolerance, as `tol` in `optiscope.solvers.least_squares`.
        max_nfev: how many trials may be made.
        kwargs: passed to fun and jac.

    Raises:
        BadInput: another method, or as `optiscope.solvers.least_squares`.
    """
    chosen = _method(method, LEAST_SQUARES)
    if kwargs:
        fun, jac = functools.partial(fun, **kwargs), functools.partial(jac, **kwargs) if callable(jac) else jac
    x0 = _start(x0)
    jacobian = jac if callable(jac) else None
    inner, given = fun, args
    if not (_traceable(fun, x0, args) and (jacobian is None or _traceable(jacobian, x0, args))):
        shape = np.shape(np.atleast_1d(fun(x0, *args)))
        inner, jacobian, given = _foreign(lambda x, *a: np.atleast_1d(fun(x, *a)), jacobian, shape, args), None, ()
    low, high = map(np.asarray, (bounds.lb, bounds.ub) if isinstance(bounds, Bounds) else bounds)
    free = np.all(np.isneginf(low)) and np.all(np.isposinf(high))
    s = solvers.least_squares(
        inner,
        x0,
        given,
        method=chosen,
        jac=jacobian,
        bounds=None if free else (low, high),
        tol=xtol,
        max_iterations=max_nfev or 1000,
    )
    with jax.enable_x64(x0.dtype == np.float64):
        r, J = jax.device_get(_at(inner, jacobian)(s.x, given))
    active = np.where(s.x <= low, -1, np.where(s.x >= high, 1, 0))
    return OptimizeResult(
        x=s.x,
        cost=float(s.value),
        fun=np.atleast_1d(r),
        jac=J.reshape(np.size(r), x0.size),
        grad=s.gradient,
        optimality=float(s.gradient_norm),
        active_mask=active,
        nfev=int(s.evaluations.function),
        njev=int(s.evaluations.jacobian),
        **_ending(s),
    )


@functools.lru_cache(maxsize=128)
def _at(fun: Callable, jac: Callable | None) -> Callable:
    derivative = jac or (lambda x, *args: jax.jacfwd(fun)(x, *args))
    return jax.jit(lambda x, args: (fun(x, *args), derivative(x, *args)))


def _ending(s: solvers.Solution) -> dict[str, Any]:
    """SciPy's way to say how it ended."""
    return {"success": bool(s.ok), "status": 0 if s.ok else int(s.status.code), "message": str(s.status)}


def _start(x0: Any) -> np.ndarray:
    """x0 as SciPy takes it: integers become floats."""
    x0 = np.atleast_1d(np.asarray(x0))
    return x0 if x0.dtype in (np.float32, np.float64) else x0.astype(float)


def _given(constraints: Any) -> bool:
    return not (isinstance(constraints, tuple | list) and len(constraints) == 0)


def _method(name: str, known: dict[str, Method]) -> Method:
    if not isinstance(name, str) or name.lower() not in known:
        raise unknown("method", name, known, f"the ones this front has: {', '.join(known)}")
    return known[name.lower()]


def _options(options: dict[str, Any] | None) -> dict[str, Any]:
    for name in options or {}:
        if name not in ("maxiter", "gtol", "disp"):
            raise unknown("option", name, ("maxiter", "gtol"), "the options 'maxiter' and 'gtol'")
    return options or {}


def _box(bounds: Any, n: int) -> tuple[Any, Any] | None:
    if bounds is None:
        return None
    if isinstance(bounds, Bounds):
        return bounds.lb, bounds.ub
    pairs = list(bounds)
    if len(pairs) != n:
        raise BadInput(f"bounds must have a (low, high) pair for each of the {n} variables, not {len(pairs)}")
    low = [-np.inf if pair[0] is None else pair[0] for pair in pairs]
    high = [np.inf if pair[1] is None else pair[1] for pair in pairs]
    return np.array(low, float), np.array(high, float)


@functools.lru_cache(maxsize=128)
def _value(both: Callable) -> Callable:
    return lambda x, *args: both(x, *args)[0]


@functools.lru_cache(maxsize=128)
def _gradient(both: Callable) -> Callable:
    return lambda x, *args: both(x, *args)[1]


def _traceable(fun: Callable, x0: np.ndarray, args: tuple) -> bool:
    """Whether JAX can trace a function: it cannot where NumPy wants numbers."""
    with jax.enable_x64(x0.dtype == np.float64):
        try:
            jax.eval_shape(fun, x0, *args)
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError):
            return False
        return True


def _foreign(fun: Callable, jac: Callable | None, shape: tuple[int, ...], args: tuple) -> Callable[[Any], Any]:
    """A function that JAX cannot trace, made one that it can call and differentiate twice (forward over reverse)."""

    def differences(x: np.ndarray) -> np.ndarray:
        h = np.finfo(x.dtype).eps ** (1 / 3) * np.maximum(1, np.abs(x))
        columns = [(np.asarray(fun(x + d, *args)) - fun(x - d, *args)) / (2 * h[i]) for i, d in enumerate(np.diag(h))]
        return np.stack(columns, axis=-1)

    derivative = differences if jac is None else lambda x: np.asarray(jac(x, *args))

    def called(function: Callable, wanted: tuple[int, ...], x: Any) -> Any:
        def host(x: Any) -> np.ndarray:
            x = np.asarray(x)
            return np.asarray(function(x), x.dtype).reshape(wanted)

        return jax.pure_callback(host, jnp.zeros(wanted, x.dtype), x, vmap_method="sequential")

    @jax.custom_jvp
    def slope(x: Any) -> Any:
        return called(derivative, (*shape, x.size), x)

    @slope.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        (x,), (v,) = primals, tangents
        size = jnp.linalg.norm(v)
        h = float(np.finfo(x.dtype).eps) ** (1 / 3) * jnp.maximum(1, jnp.linalg.norm(x)) / jnp.where(size > 0, size, 1)
        return slope(x), (slope(x + h * v) - slope(x - h * v)) / (2 * h)

    @jax.custom_jvp
    def wrapped(x: Any) -> Any:
        return called(lambda x: fun(x, *args), shape, x)

    @wrapped.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        (x,), (v,) = primals, tangents
        return wrapped(x), slope(x) @ v

    return wrapped
