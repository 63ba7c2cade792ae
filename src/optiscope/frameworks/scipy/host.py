"""Functions that JAX cannot trace, called from the compiled solver as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import BadInput


class Last:
    """A function that remembers its last result."""

    def __init__(self, fun: Callable):
        self.fun, self.at, self.found = fun, b"", None

    def __call__(self, x: np.ndarray, *args: Any) -> Any:
        if self.at != x.tobytes():
            self.at, self.found = b"", self.fun(x, *args)
            self.at = x.tobytes()
        return self.found


class Host:
    """Functions that JAX cannot trace, called where they are. After the first exception none is called any more."""

    def __init__(self, x0: np.ndarray, args: tuple, kwargs: dict[str, Any], box: tuple[Any, Any]):
        self.args, self.kwargs = args, kwargs
        self.low, self.high = (np.broadcast_to(side, x0.shape) for side in box)
        self.error: BaseException | None = None

    def differentiable(self, fun: Callable, jac: Callable | None, shape: tuple[int, ...]) -> Callable[[Any], Any]:
        """A function that JAX can call and differentiate twice (forward over reverse)."""
        derivative = self._differences(fun) if jac is None else jac

        @jax.custom_jvp
        def slope(x: Any) -> Any:
            return self._called(derivative, (*shape, x.size), x)

        @slope.defjvp
        def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
            (x,), (v,) = primals, tangents
            size = jnp.linalg.norm(v)
            h = _width(x) * jnp.maximum(1, jnp.linalg.norm(x)) / jnp.where(size > 0, size, 1)
            up, down = (jnp.clip(x + step * v, self.low, self.high) for step in (h, -h))
            apart = jnp.linalg.norm(up - down)
            return slope(x), (slope(up) - slope(down)) * size / jnp.where(apart > 0, apart, 1)

        @jax.custom_jvp
        def wrapped(x: Any) -> Any:
            return self._called(fun, shape, x)

        @wrapped.defjvp
        def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
            (x,), (v,) = primals, tangents
            return wrapped(x), slope(x) @ v

        return wrapped

    def _differences(self, fun: Callable) -> Callable:
        def differences(x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
            h = _width(x) * np.maximum(1, np.abs(x))
            columns = []
            for i in range(x.size):
                up, down = x.copy(), x.copy()
                up[i], down[i] = min(x[i] + h[i], self.high[i]), max(x[i] - h[i], self.low[i])
                change = np.asarray(fun(up, *args, **kwargs)) - fun(down, *args, **kwargs)
                columns.append(change / (up[i] - down[i] or 1))
            return np.stack(columns, axis=-1)

        return differences

    def _called(self, function: Callable, shape: tuple[int, ...], x: Any) -> Any:
        def host(x: Any) -> np.ndarray:
            if self.error is None:
                try:
                    x = np.array(x)
                    out = np.asarray(function(x, *self.args, **self.kwargs), x.dtype)
                    if out.size != math.prod(shape):
                        wanted = f"an array of shape {shape}" if shape else "one number"
                        raise BadInput(
                            f"the function must return {wanted} at every x, not an array of shape {out.shape}"
                        )
                    return out.reshape(shape)
                except BaseException as error:
                    self.error = error
            return np.full(shape, np.nan, x.dtype)

        return jax.pure_callback(host, jnp.zeros(shape, x.dtype), x, vmap_method="sequential")


def _width(x: Any) -> float:
    return float(np.finfo(x.dtype).eps) ** (1 / 3)
