"""Arguments as SciPy takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import BadInput, unknown
from ...solvers.walk import Method


def start(x0: Any) -> np.ndarray:
    """x0 as SciPy takes it: integers become floats."""
    x0 = np.atleast_1d(np.asarray(x0))
    if x0.ndim > 1:
        raise BadInput(f"x0 must have one dimension, not {x0.ndim}; write x0.ravel()")
    return x0 if x0.dtype in (np.float32, np.float64) else x0.astype(float)


def as_tuple(args: Any) -> tuple:
    return tuple(args) if isinstance(args, tuple | list) else (args,)


def pick(name: str, known: dict[str, Method]) -> Method:
    if not isinstance(name, str) or name.lower() not in known:
        raise unknown("method", name, known, f"the ones this front has: {', '.join(known)}")
    return known[name.lower()]
