"""What a callback and `verbose` are shown, once a compiled solver has finished."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ... import solvers
from ...errors import BadInput
from .host import Host

STOPPED = "`callback` raised `StopIteration`."


def watched(
    host: Host | None,
    solve: Callable[..., solvers.Solution],
    most: Any,
    name: str,
    callback: Callable[..., Any] | None,
    value: str = "fun",
    verbose: int = 0,
) -> tuple[solvers.Solution, bool]:
    """The solution after at most so many iterations, and whether the callback stopped it.

    `name` is what SciPy calls the most iterations, and `value` what is solved for.
    """
    if most is not None and (
        isinstance(most, bool) or not isinstance(most, int | float | np.integer) or most < 1 or most % 1
    ):
        raise BadInput(f"{name} must be None or a whole number ≥ 1, not {most!r}")
    most = 1000 if most is None else int(most)
    s = solve(max_iterations=most, history="path" if callback else verbose > 1)
    if host is not None:
        host.check()
    rows: Any = s.history
    if verbose > 1:
        print(f"{'iteration':>9} {'cost':>14} {'step':>14} {'optimality':>14}")
        for k, row in enumerate(zip(rows.value, rows.step, rows.gradient_norm, strict=True)):
            print(f"{k:9d} " + " ".join(f"{number:14.6e}" for number in row))
    if callback is not None:
        whole = "intermediate_result" in inspect.signature(callback).parameters
        for k in range(1, len(rows.value)):
            found = OptimizeResult({"x": rows.x[k].copy(), value: float(rows.value[k]), "nit": k})
            try:
                callback(intermediate_result=found) if whole else callback(found.x)
            except StopIteration:
                return solve(max_iterations=k), True
    return s, False
