"""`scipy.optimize.least_squares`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from ... import solvers
from ...errors import BadInput, unknown
from ...solvers.solution import CONVERGED, ITERATIONS, RANK_DEFICIENT
from ...solvers.walk import Method
from .arguments import as_tuple, pick, start
from .functions import Calls, traced, vector
from .host import Host
from .losses import LOSSES, bent, ratio_of
from .watch import STOPPED, watched

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
        callback: as in `minimize`; the intermediate result has the cost too.
        x_scale, diff_step, tr_solver, tr_options, jac_sparsity, workers: of no effect; the methods here are indifferent
            to the units of the variables.

    Raises:
        BadInput: another method or loss, or as `optiscope.solvers.least_squares`.
        Exception: what fun, jac or the callback raise.
    """
    x0, args, kwargs = start(x0), as_tuple(args), kwargs or {}
    low, high = _sides(bounds)
    free = bool(np.all(np.isneginf(low)) and np.all(np.isposinf(high)))
    chosen = pick(method, LEAST_SQUARES)
    if not free and isinstance(chosen, solvers.Dogleg):
        chosen = solvers.LM()
    if loss != "linear" and not callable(loss) and loss not in LOSSES:
        raise unknown("loss", loss, LOSSES, f"'linear', {', '.join(map(repr, LOSSES))}, or a function")
    jacobian = jac if callable(jac) else None
    calls = traced(vector(fun), jacobian, None, x0, args, kwargs)
    if calls is None:
        m = np.size(fun(x0, *args, **kwargs))
        host = Host(x0, args, kwargs, (low, high))
        calls = Calls(host.differentiable(fun, jacobian, (m,)), None, None, (), host)
    plain = calls
    if loss != "linear":
        calls = bent(calls, LOSSES[loss] if isinstance(loss, str) else ratio_of(loss), x0.dtype.type(f_scale))
    tolerances = [tol for tol in (ftol, xtol, gtol) if tol is not None]
    solve = functools.partial(
        solvers.least_squares,
        calls.fun,
        x0,
        calls.given,
        method=chosen,
        jac=calls.jac,
        bounds=None if free else (low, high),
        tol=min(tolerances, default=None),
    )
    s, stopped = watched(calls, solve, max_nfev, "max_nfev", callback, verbose)
    with jax.enable_x64(x0.dtype == np.float64):
        r = jax.device_get(_compiled(plain.fun)(s.x, *plain.given))
        J = jax.device_get(_compiled(calls.jac or _forward(calls.fun))(s.x, *calls.given))
    calls.check()
    ended = int(s.status.code)
    status = -2 if stopped else {CONVERGED: 1, RANK_DEFICIENT: 1, ITERATIONS: 0}.get(ended, -1)
    result = OptimizeResult(
        x=s.x,
        cost=float(s.value),
        fun=r,
        jac=J.reshape(r.size, x0.size),
        grad=s.gradient,
        optimality=float(s.gradient_norm),
        active_mask=np.where(s.x <= low, -1, np.where(s.x >= high, 1, 0)),
        nfev=int(s.evaluations.function),
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
