"""Landscapes: functions of a few numbers, to look at and to know by heart.

Each is a function of an array of shape (n,), with the box its starts are drawn from and its known minimisers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..errors import BadInput
from ..values import static, value
from .batches import Batches, Everything, Noise
from .contract import Problem, Task, task


@value
class Place(Problem):
    """A landscape and a start on it."""

    start: jax.Array
    function: Callable[[Any], Any] = static()
    batches: Batches = static()

    def loss(self, params: Any, batch: Any = None) -> Any:
        height = self.function(params)
        # ∇(f + ε·x) = ∇f + ε: the noise enters the gradient and leaves f alone.
        return height if batch is None else height + jnp.vdot(batch, params)


@value
class Landscape(Task):
    """A function on Rⁿ. Starts are uniform on the box [low, high]ⁿ; `noise` is added to each step's gradient."""

    name: str = static()
    function: Callable[[Any], Any] = static()
    n: int = static(default=2)
    low: float = static(default=-2.0)
    high: float = static(default=2.0)
    minima: tuple[tuple[float, ...], ...] = static(default=())
    """The known global minimisers."""
    noise: float | None = static(default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 1:
            raise BadInput(f"{self.name}: n must be a whole number ≥ 1, not {self.n!r}")
        self._batches()

    def sample(self, key: Any) -> Place:
        return Place(jax.random.uniform(key, (self.n,), None, self.low, self.high), self.function, self._batches())

    def _batches(self) -> Batches:
        return Everything() if self.noise is None else Noise((self.n,), self.noise)

    @property
    def optimum(self) -> float | None:
        if not self.minima:
            return None
        with jax.enable_x64(True):
            return float(self.function(jnp.array(self.minima[0])))


def landscape(low: float, high: float, *minimisers: tuple[float, ...], n: int = 2) -> Callable:
    """List a function of n numbers as a task."""

    def declare(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def make(noise: float | None = None) -> Landscape:
            return Landscape(make.__name__, function, n, low, high, minimisers, noise)

        return _list(make, function)

    return declare


def landscape_n(low: float, high: float, minimum_at: float, least: int = 1) -> Callable:
    """List a function of any number n ≥ `least` of variables, whose minimiser is (minimum_at, …, minimum_at)."""

    def declare(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def make(n: int = 2, noise: float | None = None) -> Landscape:
            if not isinstance(n, int) or n < least:
                raise BadInput(f"{make.__name__}: n must be a whole number ≥ {least}, not {n!r}")
            return Landscape(make.__name__, function, n, low, high, ((minimum_at,) * n,), noise)

        return _list(make, function)

    return declare


def _list(make: Callable[..., Landscape], function: Callable) -> Callable[[Any], Any]:
    make.__name__, make.__doc__ = function.__name__.replace("_", "-"), function.__doc__
    task(make)
    return function


@landscape(-10.0, 10.0, (0.0,), n=1)
def parabola(x: Any) -> Any:
    """x²"""
    return x[0] ** 2


@landscape(-1.0, 1.0, n=1)
def cubic(x: Any) -> Any:
    """x³: flat at 0, which is no minimum"""
    return x[0] ** 3


@landscape(-1.0, 2.0, (1.0904082219,), n=1)
def xcospix(x: Any) -> Any:
    """x·cos(πx): a local minimum near −0.3 and, on [−1, 2], the global one near 1.1"""
    return x[0] * jnp.cos(math.pi * x[0])


@landscape(-2.0, 2.0, (0.0, 0.0))
def bowl(x: Any) -> Any:
    """x² + y²"""
    return x[0] ** 2 + x[1] ** 2


@landscape(-5.0, 5.0, (0.0, 0.0))
def ellipse(x: Any) -> Any:
    """x² + 2y²"""
    return x[0] ** 2 + 2 * x[1] ** 2


@landscape(-5.0, 5.0, (0.0, 0.0))
def valley(x: Any) -> Any:
    """0.1x² + 2y²: twenty times as steep across as along"""
    return 0.1 * x[0] ** 2 + 2 * x[1] ** 2


@landscape(-4.0, 4.0, (-0.3, 2.5))
def tilted(x: Any) -> Any:
    """5x² + 2y² + 3x − 10y + 4"""
    return 5 * x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[0] - 10 * x[1] + 4


@landscape(-2.0, 2.0)
def saddle(x: Any) -> Any:
    """x² − y²: a saddle at 0, and no minimum"""
    return x[0] ** 2 - x[1] ** 2


@landscape(-2.0, 2.0)
def monkey_saddle(x: Any) -> Any:
    """x³ − 3xy²: three valleys meet at 0, where the Hessian vanishes"""
    return x[0] ** 3 - 3 * x[0] * x[1] ** 2


@landscape(-5.0, 5.0, (3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126))
def himmelblau(x: Any) -> Any:
    """(x² + y − 11)² + (x + y² − 7)²: four equal minima (Himmelblau, 1972)"""
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


@landscape(-4.5, 4.5, (3.0, 0.5))
def beale(x: Any) -> Any:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)² (Beale, 1958)"""
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))


@landscape_n(-2.0, 2.0, 1.0, least=2)
def rosenbrock(x: Any) -> Any:
    """Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²: a curved valley (Rosenbrock, 1960)"""
    a, b = x[:-1], x[1:]
    r = b - a**2
    return jnp.sum(100 * r**2 + (1 - a) ** 2)


@landscape_n(-5.12, 5.12, 0.0)
def rastrigin(x: Any) -> Any:
    """10n + Σ xᵢ² − 10 cos 2πxᵢ: a minimum at every lattice point (Rastrigin, 1974)"""
    return jnp.sum(10 + x**2 - 10 * jnp.cos(2 * math.pi * x))


@landscape_n(-5.0, 5.0, 0.0)
def ackley(x: Any) -> Any:
    """−20 exp(−0.2 √mean x²) − exp(mean cos 2πx) + 20 + e: a funnel with a cusp at 0 (Ackley, 1987)"""
    square = jnp.mean(x**2)
    # At the cusp itself the root has no derivative; 0, by symmetry, is the one to give.
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return 20 - 20 * jnp.exp(-0.2 * root) + math.e - jnp.exp(jnp.mean(jnp.cos(2 * math.pi * x)))


@landscape_n(-5.0, 5.0, -2.903534)
def styblinski_tang(x: Any) -> Any:
    """½ Σ xᵢ⁴ − 16xᵢ² + 5xᵢ: 2ⁿ minima, one of them global (Styblinski & Tang, 1990)"""
    return jnp.sum(x**4 - 16 * x**2 + 5 * x) / 2
