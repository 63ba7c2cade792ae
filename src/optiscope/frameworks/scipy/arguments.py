"""Arguments as SciPy takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import BadInput, unknown
from ...solvers.walk import Method

LOOSEST = 0.5
"""SciPy's tolerances may be 1 and more."""


def start(x0: Any) -> np.ndarray:
    """x0 as SciPy takes it: a copy, whose integers become floats."""
    x0 = np.atleast_1d(np.array(x0))
    if x0.ndim > 1:
        raise BadInput(f"x0 must have one dimension, not {x0.ndim}; write x0.ravel()")
    if np.iscomplexobj(x0):
        raise BadInput("x0 must be real; give real and imaginary parts side by side")
    return x0 if x0.dtype in (np.float32, np.float64) else x0.astype(float)


def pick(name: str, known: dict[str, Method]) -> Method:
    if not isinstance(name, str) or name.lower() not in known:
        raise unknown("method", name, known, f"the ones this front has: {', '.join(known)}")
    return known[name.lower()]
