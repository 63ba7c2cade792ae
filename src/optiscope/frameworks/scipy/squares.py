"""`scipy.optimize.least_squares`."""

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
from ...errors import BadInput
from ...solvers.solution import CONVERGED, ITERATIONS, RANK_DEFICIENT, STALLED
from ...solvers.walk import Method
from .arguments import LOOSEST, pick, start
from .functions import traced, vector
from .host import Host
from .losses import bent, ratio_of
from .watch import STOPPED, watched

DIFFERENCED = 1e-8
"""The tolerance, as SciPy's, where the Jacobian is differenced."""

LEAST_SQUARES: dict[str, Method] = {"lm": solvers.LM(), "trf": solvers.LM(), "dogbox": solvers.Dogleg()}


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Callable[..., Any] | str | None = "2-point",
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    ftol: float | None = None,
    xtol: float | None = None,
    gtol: float | None = None,
    x_scale: Any = None,
    loss: str | Callable[[Any], Any] = "linear",
    f_scale: float = 1.0,
    diff_step: Any = None,
    tr_solver: Any = None,
    tr_options: Any = None,
    jac_sparsity: Any = None,
    max_nfev: int | None = None,
    verbose: int = 0,
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    callback: Callable[..., Any] | None = None,
    workers: Any = None,
) -> OptimizeResult:
    """`scipy.optimize.least_squares`, by Optiscope's solvers.

    Args:
        fun: (x, *args, **kwargs) → the residuals, shape (m,).
        jac: (x, *args, **kwargs) → the Jacobian, shape (m, n); otherwise by automatic or central differentiation.
        bounds: a `scipy.optimize.Bounds`, or (low, high).
        method: "lm" or "trf", which are one here, or "dogbox", which without bounds is Powell's dogleg.
        ftol, xtol, gtol: the smallest that is given is the one tolerance, as `tol` in
            `optiscope.solvers.least_squares`.
        loss: "linear", "soft_l1", "huber", "cauchy", "arctan", or z → (ρ, ρ′, ρ″), of which ρ alone is used, written
            with `jax.numpy`. The residuals r f_scale √(ρ(z) / z) with z = (r / f_scale)² are what is solved.
        max_nfev: how many trials may be made.
        verbose: 1 prints how it ended, 2 every iteration too.
        kwargs: passed to fun and jac.
        callback: as in `minimize`; the intermediate result has the cost in place of fun.
        x_scale, diff_step, tr_solver, tr_options, jac_sparsity, workers: of no effect; the methods here are indifferent
            to the units of the variables.

    Raises:
        BadInput: another method or loss, or as `optiscope.solvers.least_squares`.
        Exception: what fun, jac or the callback raise.
    """
    x0, args, kwargs = start(x0), tuple(args), kwargs or {}
    low, high = _sides(bounds)
    free = bool(np.all(np.isneginf(low)) and np.all(np.isposinf(high)))
    chosen = pick(method, LEAST_SQUARES)
    if not free and isinstance(chosen, solvers.Dogleg):
        chosen = solvers.LM()
    tolerances = [tol for tol in (ftol, xtol, gtol) if tol is not None]
    jacobian = jac if callable(jac) else None
    with jax.enable_x64(x0.dtype == np.float64):
        first = fun(x0.copy(), *args, **kwargs)
    calls = traced(first, (fun, vector), jacobian and (jacobian, jnp.asarray), None, x0, args, kwargs)
    host = None
    with ExitStack() as stack:
        if calls is None:
            slope = None if jacobian is None else lambda x: jacobian(x, *args, **kwargs)
            host = Host(lambda x: fun(x, *args, **kwargs), slope, (np.size(first),), (low, high), x0)
            calls = stack.enter_context(host.open(curved=slope is not None))
            if slope is None and not tolerances:
                tolerances = [DIFFERENCED]
        plain = calls
        if loss != "linear":
            calls = bent(calls, ratio_of(loss), x0.dtype.type(f_scale))
        solve = functools.partial(
            solvers.least_squares,
            calls.fun,
            x0,
            calls.given,
            method=chosen,
            jac=calls.jac,
            bounds=None if free else (low, high),
            tol=min([*tolerances, LOOSEST]) if tolerances else None,
        )
        s, stopped = watched(host, solve, max_nfev, "max_nfev", callback, "cost", verbose)
        with jax.enable_x64(x0.dtype == np.float64):
            r = jax.device_get(_compiled(plain.fun)(s.x, *plain.given))
            J = jax.device_get(_compiled(calls.jac or _forward(calls.fun))(s.x, *calls.given))
        if host is not None:
            host.check()
    known = {CONVERGED: 1, RANK_DEFICIENT: 1, ITERATIONS: 0}
    if host is not None and jacobian is None:
        known[STALLED] = 2  # differences tell no more than that there is no lower value
    status = -2 if stopped else known.get(int(s.status.code), -1)
    result = OptimizeResult(
        x=s.x,
        cost=float(s.value),
        fun=r,
        jac=J.reshape(r.size, x0.size),
        grad=s.gradient,
        optimality=float(s.gradient_norm),
        active_mask=np.where(s.x <= low, -1, np.where(s.x >= high, 1, 0)),
        nfev=int(s.evaluations.function) if host is None else host.calls,
        njev=int(s.evaluations.jacobian),
        success=status > 0,
        status=status,
        message=STOPPED if stopped else str(s.status),
    )
    if verbose:
        print(result.message)
    return result


@functools.lru_cache(maxsize=128)
def _forward(residual: Callable) -> Callable:
    return jax.jacfwd(residual)


@functools.lru_cache(maxsize=128)
def _compiled(fun: Callable) -> Callable:
    return jax.jit(fun)


def _sides(bounds: Any) -> tuple[Any, Any]:
    """(low, high) of `least_squares`' bounds."""
    try:
        low, high = (bounds.lb, bounds.ub) if isinstance(bounds, Bounds) else bounds
    except (TypeError, ValueError):
        raise BadInput(f"bounds must be a scipy.optimize.Bounds or a pair (low, high), not {bounds!r}") from None
    return np.asarray(low, float), np.asarray(high, float)
