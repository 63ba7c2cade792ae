"""Random quadratics with a chosen spectrum."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from ..errors import BadInput
from ..values import static, value
from .batches import Batches, Everything
from .contract import Problem, Task, task


@value
class QuadraticProblem(Problem):
    """½ (x − x*)ᵀ H (x − x*), kept in this form because the expanded one cancels in float32."""

    start: jax.Array
    hessian: jax.Array
    minimiser: jax.Array
    batches: Batches = static(default=Everything())

    def loss(self, params: Any, batch: Any = None) -> Any:
        return _half_square(self.hessian, params - self.minimiser)


@jax.custom_jvp
def _half_square(h: Any, x: Any) -> Any:
    """½ xᵀ H x of a symmetric H."""
    return jnp.sum(x * _product(h, x)) / 2


@functools.partial(_half_square.defjvp, symbolic_zeros=True)
def _half_square_jvp(primals: Any, tangents: Any) -> Any:
    # The slope is Hx, which the value has: derived as a product it would be (H + Hᵀ) x / 2, another pass over H.
    (h, x), (dh, dx) = primals, tangents
    slope = _product(h, x)
    moved = jnp.zeros_like(x[0]) if isinstance(dx, SymbolicZero) else jnp.sum(slope * dx)
    turned = 0 if isinstance(dh, SymbolicZero) else jnp.sum(x * _product(dh, x)) / 2
    return jnp.sum(x * slope) / 2, moved + turned


def _product(h: Any, x: Any) -> Any:
    """H x, as a sum that XLA fuses with what is around it: its matrix product is a call, slow on matrices so small."""
    return jnp.sum(h * x[None, :], axis=1)


@value
class Quadratic(Task):
    """½ xᵀHx − bᵀx, lifted so that its minimum is 0; b and the start are standard normal, H's basis is random.

    H's eigenvalues are `spectrum` where that is given, else `n` draws of 10^U[low, high] (Maheswaranathan et al.,
    2021, section 3). Along an eigenvector of eigenvalue 0 b has no part.
    """

    name: str = static(default="quadratic")
    n: int = static(default=5)
    low: float = -3.0
    high: float = 0.0
    spectrum: Any = None

    @property
    def optimum(self) -> float | None:
        return 0.0

    def sample(self, key: Any) -> QuadraticProblem:
        values, basis, start, linear = jax.random.split(key, 4)
        n = self.n if self.spectrum is None else len(self.spectrum)
        eigenvalues = (
            10 ** jax.random.uniform(values, (n,), None, self.low, self.high)
            if self.spectrum is None
            else jnp.asarray(self.spectrum)
        )
        q = _basis(basis, n)
        hessian = (q * eigenvalues[None, :]) @ q.T
        b = jax.random.normal(linear, (n,))
        flat = eigenvalues == 0
        minimiser = q @ (jnp.where(flat, 0, 1 / jnp.where(flat, 1, eigenvalues)) * b)
        return QuadraticProblem(jax.random.normal(start, (n,)), hessian, minimiser)


@functools.partial(jax.jit, static_argnames="n")
def _basis(key: Any, n: int) -> jax.Array:
    """A uniformly random orthonormal basis, up to its vectors' signs: the reflections that the QR factorisation of a
    normal matrix is made of (Stewart, 1980, "The efficient generation of random orthogonal matrices").

    Drawn without LAPACK, whose calls are slow on many small matrices.
    """

    def reflect(q: jax.Array, drawn: tuple) -> tuple[jax.Array, None]:
        k, x = drawn
        x = jnp.where(jnp.arange(n) < k, 0, x)
        v = x.at[k].add(jnp.copysign(jnp.sqrt(jnp.vdot(x, x)), x[k]))
        return q - 2 * jnp.outer(q @ v, v) / jnp.vdot(v, v), None

    q, _ = jax.lax.scan(reflect, jnp.eye(n), (jnp.arange(n - 1), jax.random.normal(key, (n - 1, n))))
    return q


@task
def quadratic(n: int = 5, low: float = -3.0, high: float = 0.0, spectrum: tuple[float, ...] | None = None) -> Quadratic:
    """½ (x − x*)ᵀH(x − x*) with eigenvalues 10^U[low, high], or a chosen spectrum, in a random basis"""
    if spectrum is not None:
        if len(spectrum) == 0 or not np.all(np.isfinite(spectrum)) or np.min(spectrum) < 0:
            raise BadInput(f"quadratic: the spectrum must be finite eigenvalues ≥ 0, not {spectrum!r}")
        n = len(spectrum)
    if not isinstance(n, int) or n < 1:
        raise BadInput(f"quadratic: n must be a whole number ≥ 1, not {n!r}")
    return Quadratic("quadratic", n, low, high, None if spectrum is None else np.asarray(spectrum, float))
