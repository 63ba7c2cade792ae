"""`scipy.optimize.minimize`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from ... import solvers
from ...errors import BadInput, unknown
from ...solvers.solution import CONVERGED, ITERATIONS, NOT_FINITE
from ...solvers.walk import Method
from .arguments import LOOSEST, pick, start
from .functions import Same, gradient_of, number, number_of, product_with, traced
from .host import Host, Last
from .watch import STOPPED, watched

METHODS: dict[str, Method] = {
    "bfgs": solvers.BFGS(),
    "l-bfgs-b": solvers.LBFGS(),
    "cg": solvers.CG("pr+"),
    "newton-cg": solvers.NewtonCG(),
    "trust-ncg": solvers.NewtonCG(),
    "trust-krylov": solvers.NewtonCG(),
    "trust-exact": solvers.Newton(),
}

OPTIONS = ("maxiter", "gtol", "disp", "maxcor", "maxfun")
IDLE = ("ftol", "xtol", "xrtol", "norm", "c1", "c2", "maxls", "eps", "finite_diff_rel_step", "iprint", "workers")
"""Options that steer SciPy's own stopping, line searches, differences and printing. They have no effect here."""


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
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
) -> OptimizeResult:
    """`scipy.optimize.minimize`, by Optiscope's solvers.

    Args:
        fun: (x, *args) → a number, or (number, gradient) with jac=True.
        method: "BFGS", "L-BFGS-B", "CG", "Newton-CG", "trust-ncg", "trust-krylov" or "trust-exact"; by default L-BFGS-B
            with bounds, BFGS without.
        jac: (x, *args) → the gradient, or True; otherwise by automatic or central differentiation.
        hess, hessp: (x, *args) → the Hessian, (x, p, *args) → the Hessian times p, for a `jax.numpy` function;
            otherwise by automatic or central differentiation.
        bounds: a `scipy.optimize.Bounds`, or a (low, high) pair for each variable, None for no bound; L-BFGS-B alone
            takes them.
        tol: the gradient tolerance, as in `optiscope.solvers.minimize`; by default 1e-5 where the gradient is
            differenced.
        callback: called with every iterate, or with `intermediate_result=OptimizeResult(x, fun)` if it has that
            argument, once the solver has finished; StopIteration makes that iterate the result.
        options: "maxiter", "gtol"; "maxcor" and "maxfun" of L-BFGS-B; "disp". Those in IDLE have no effect.

    Raises:
        BadInput: an argument that these solvers do not have: constraints, another method or option.
        Exception: what fun, jac or the callback raise.
    """
    if not (constraints is None or (isinstance(constraints, tuple | list) and not constraints)):
        raise BadInput("constraints are not supported, only bounds with method='L-BFGS-B'; use scipy.optimize.minimize")
    x0, options = start(x0), _options(options)
    args = args if isinstance(args, tuple) else (args,)
    box = _box(bounds, x0.size)
    chosen = pick(method or ("BFGS" if box is None else "L-BFGS-B"), METHODS)
    if "maxcor" in options and isinstance(chosen, solvers.LBFGS):
        chosen = solvers.LBFGS(memory=options["maxcor"])
    low, high = (-np.inf, np.inf) if box is None else box
    x0 = np.clip(x0, low, high).astype(x0.dtype)
    with jax.enable_x64(x0.dtype == np.float64):
        first = fun(x0.copy(), *args)
    if callable(hess) and hessp is None:
        hessp = product_with(Same(hess))
    calls = traced(
        first,
        (fun, number_of if jac is True else number),
        (fun, gradient_of) if jac is True else (jac, jnp.asarray) if callable(jac) else None,
        hessp and (hessp, jnp.asarray),
        x0,
        args,
        {},
    )
    host = None
    tol = options.get("gtol", tol)
    with ExitStack() as stack:
        if calls is None:
            if jac is True:
                both = Last(lambda x: fun(x, *args))
                host = Host(lambda x: both(x)[0], lambda x: both(x)[1], (), (low, high), x0)
            else:
                slope = (lambda x: jac(x, *args)) if callable(jac) else None
                host = Host(lambda x: fun(x, *args), slope, (), (low, high), x0)
            curved = host.jac is not None or isinstance(chosen, solvers.Newton | solvers.NewtonCG)
            calls = stack.enter_context(host.open(curved))
            tol = 1e-5 if tol is None and host.jac is None else tol
        solve = functools.partial(
            solvers.minimize,
            calls.fun,
            x0,
            calls.given,
            method=chosen,
            jac=calls.jac,
            hvp=calls.hvp,
            bounds=box,
            tol=None if tol is None else min(tol, LOOSEST),
            max_cost=options.get("maxfun"),
        )
        s, stopped = watched(host, solve, options.get("maxiter"), "maxiter", callback)
    result = OptimizeResult(
        x=s.x,
        fun=float(s.value),
        jac=s.gradient,
        nit=int(s.iterations),
        nfev=int(s.evaluations.function) if host is None else host.calls,
        njev=int(s.evaluations.gradient),
        nhev=int(s.evaluations.hvp),
        success=bool(s.ok) and not stopped,
        status=99 if stopped else {CONVERGED: 0, ITERATIONS: 1, NOT_FINITE: 3}.get(int(s.status.code), 2),
        message=STOPPED if stopped else str(s.status),
    )
    if s.inverse_hessian is not None:
        result.hess_inv = s.inverse_hessian
    if options.get("disp"):
        print(result.message)
    return result


def _options(options: dict[str, Any] | None) -> dict[str, Any]:
    for name in options or {}:
        if name not in (*OPTIONS, *IDLE):
            raise unknown("option", name, OPTIONS, f"the options {', '.join(map(repr, OPTIONS))}")
    return options or {}


def _box(bounds: Any, n: int) -> tuple[Any, Any] | None:
    """(low, high) of `minimize`'s bounds."""
    if bounds is None:
        return None
    if isinstance(bounds, Bounds):
        return bounds.lb, bounds.ub
    pairs = list(bounds)
    if len(pairs) == 1:
        pairs *= n
    if len(pairs) != n:
        raise BadInput(f"bounds must have a (low, high) pair for each of the {n} variables, not {len(pairs)}")
    low = [-np.inf if pair[0] is None else pair[0] for pair in pairs]
    high = [np.inf if pair[1] is None else pair[1] for pair in pairs]
    return np.array(low, float), np.array(high, float)
