"""Functions that JAX cannot trace, called from the compiled solver as they are.

A program knows nothing of the function but the shape of what it returns: it calls whatever stands under a number that
it is given. So it is compiled once for all functions of that shape, and holds on to none.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import BadInput
from ...solvers.walk import eps
from .functions import Calls

_hosts: dict[int, Host] = {}
_numbers = itertools.count()


class Last:
    """A function that remembers its last result."""

    def __init__(self, fun: Callable):
        self.fun, self.at, self.found = fun, b"", None

    def __call__(self, x: np.ndarray) -> Any:
        at = x.tobytes()
        if self.at != at:
            self.at, self.found = at, self.fun(x)
        return self.found


class Host:
    """A user's function and its derivative. After the first exception neither is called any more."""

    def __init__(
        self, fun: Callable, jac: Callable | None, shape: tuple[int, ...], box: tuple[Any, Any], x: np.ndarray
    ):
        self.fun, self.jac, self.shape, self.dtype = fun, jac, shape, x.dtype
        self.low, self.high = (np.broadcast_to(side, x.shape).astype(x.dtype) for side in box)
        self.calls = 0
        self.error: BaseException | None = None

    @contextmanager
    def open(self, curved: bool) -> Iterator[Calls]:
        """What a solver calls, while it runs, to have the function called."""
        number = next(_numbers)
        _hosts[number] = self
        try:
            yield Calls(_hosted(self.shape, curved), None, None, (np.int32(number), self.low, self.high))
        finally:
            del _hosts[number]

    def check(self) -> None:
        """Raise what the function raised."""
        if self.error is not None:
            raise self.error

    def answer(self, slope: bool, x: np.ndarray) -> np.ndarray:
        """The function or its derivative at x, not a number once there was an error."""
        shape = (*self.shape, x.size) if slope else self.shape
        if self.error is None:
            try:
                with jax.enable_x64(self.dtype == np.float64):  # which is each thread's own
                    return self._slope(x) if slope else self._value(x)
            except BaseException as error:
                self.error = error
        return np.full(shape, np.nan, self.dtype)

    def _value(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self._checked(self.fun(x.copy()), self.shape)

    def _slope(self, x: np.ndarray) -> np.ndarray:
        if self.jac is not None:
            return self._checked(self.jac(x.copy()), (*self.shape, x.size))
        h = eps(x) ** (1 / 3) * np.maximum(1, np.abs(x))
        up, down = np.minimum(x + h, self.high), np.maximum(x - h, self.low)
        columns = []
        for i in range(x.size):
            ends = x.copy(), x.copy()
            ends[0][i], ends[1][i] = up[i], down[i]
            columns.append((self._value(ends[0]) - self._value(ends[1])) / (up[i] - down[i] or 1))
        return np.stack(columns, axis=-1)

    def _checked(self, given: Any, shape: tuple[int, ...]) -> np.ndarray:
        out = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        if np.iscomplexobj(out):
            raise BadInput("a function must return real numbers; return real and imaginary parts side by side")
        if out.size != math.prod(shape) or (out.ndim == len(shape) > 1 and out.shape != shape):
            wanted = f"an array of shape {shape}" if shape else "one number"
            raise BadInput(f"a function must return {wanted} at every x, not an array of shape {out.shape}")
        return out.astype(self.dtype).reshape(shape)


@functools.lru_cache(maxsize=128)
def _hosted(shape: tuple[int, ...], curved: bool) -> Callable[..., Any]:
    """(x, number, low, high) → an array of a shape: a function that JAX can call and differentiate, twice if `curved`,
    by differences of slopes. Where slopes are themselves differences, a difference of them is noise; not a number then.
    """

    @jax.custom_jvp
    def slope(x: Any, number: Any, low: Any, high: Any) -> Any:
        return _called(True, (*shape, x.size), x, number)

    @slope.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        (x, *given), v = primals, tangents[0]
        here = slope(x, *given)
        if not curved:
            return here, jnp.full_like(here, jnp.nan)
        size = jnp.linalg.norm(v)
        h = eps(x) ** (1 / 3) * jnp.maximum(1, jnp.linalg.norm(x)) / jnp.where(size > 0, size, 1)
        _, low, high = given
        up, down = (jnp.clip(x + step * v, low, high) for step in (h, -h))
        apart = jnp.linalg.norm(up - down)
        return here, (slope(up, *given) - slope(down, *given)) * size / jnp.where(apart > 0, apart, 1)

    @jax.custom_jvp
    def value(x: Any, number: Any, low: Any, high: Any) -> Any:
        return _called(False, shape, x, number)

    @value.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        return value(*primals), slope(*primals) @ tangents[0]

    return value


def _called(slope: bool, shape: tuple[int, ...], x: Any, number: Any) -> Any:
    """What a host answers. Numbers travel as 32-bit words: whether JAX has 64 bits is each thread's own, and callbacks
    run on any."""
    words = x.dtype.itemsize // 4

    def host(x: Any, number: Any) -> np.ndarray:
        asked = _hosts[int(number)]
        found = asked.answer(slope, np.asarray(x).view(asked.dtype).reshape(-1))
        return found.reshape(-1, 1).view(np.uint32)

    coded = jax.lax.bitcast_convert_type(x, jnp.uint32).reshape(-1)
    form = jnp.zeros((math.prod(shape), words), jnp.uint32)
    answer = jax.pure_callback(host, form, coded, number, vmap_method="sequential")
    return jax.lax.bitcast_convert_type(answer if words > 1 else answer[:, 0], x.dtype).reshape(shape)
