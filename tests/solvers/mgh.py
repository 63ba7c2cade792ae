"""The test functions of Moré, Garbow & Hillstrom (1981, ACM TOMS 7, 17–41), numbered as there: F(x) = Σ fᵢ(x)².

The paper gives minima to six digits. Here each is given to more, found by SciPy's MINPACK at its finest tolerances;
`test_mgh` checks that it does.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import nist
import numpy as np


@dataclasses.dataclass(frozen=True)
class MGH:
    """One problem."""

    number: int
    name: str
    residual: Callable[[Any], Any]
    start: np.ndarray
    minima: tuple[float, ...]
    """F at the minima the paper lists, those at infinity among them; the global one first."""

    def value(self, x: Any) -> Any:
        return jnp.sum(self.residual(x) ** 2)

    def solved(self, value: float, tol: float = 1e-7) -> bool:
        """Whether F is at one of the minima: to tol relative to it, or to the start where that is less than 1."""
        first = float(self.value(self.start))
        return any(value - least <= tol * max(least, min(1.0, first)) for least in self.minima)


PROBLEMS: dict[str, MGH] = {}


def problem(number: int, start: Any, *minima: float) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def declare(residual: Callable[[Any], Any]) -> Callable[[Any], Any]:
        name = residual.__name__.replace("_", "-")
        PROBLEMS[name] = MGH(number, name, residual, np.array(start, float), minima)
        return residual

    return declare


def stack(*parts: Any) -> Any:
    return jnp.concatenate([jnp.atleast_1d(part) for part in parts])


def count(m: int) -> np.ndarray:
    return np.arange(1, m + 1, dtype=float)


@problem(1, [-1.2, 1], 0.0)
def rosenbrock(x: Any) -> Any:
    return stack(10 * (x[1] - x[0] ** 2), 1 - x[0])


@problem(2, [0.5, -2], 0.0, 48.98425367924)
def freudenstein_roth(x: Any) -> Any:
    a, b = x
    return stack(-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b)


@problem(3, [0, 1], 0.0)
def powell_badly_scaled(x: Any) -> Any:
    return stack(1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001)


@problem(4, [1, 1], 0.0)
def brown_badly_scaled(x: Any) -> Any:
    return stack(x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2)


@problem(5, [1, 1], 0.0)
def beale(x: Any) -> Any:
    return stack(*(y - x[0] * (1 - x[1] ** i) for i, y in enumerate((1.5, 2.25, 2.625), 1)))


@problem(6, [0.3, 0.4], 124.3621823556)
def jennrich_sampson(x: Any) -> Any:
    i = count(10)
    return 2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


@problem(7, [-1, 0, 0], 0.0)
def helical_valley(x: Any) -> Any:
    theta = jnp.arctan2(x[1], x[0]) / (2 * jnp.pi)
    return stack(10 * (x[2] - 10 * theta), 10 * (jnp.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2])


@problem(8, [1, 1, 1], 8.214877306578e-3, 17.42869333333)
def bard(x: Any) -> Any:
    y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = count(15)
    v = 16 - u
    return y - (x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


@problem(9, [0.4, 1, 0], 1.127932769619e-8)
def gaussian(x: Any) -> Any:
    half = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
    y, t = np.array([*half, 0.3989, *half[::-1]]), (8 - count(15)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - y


@problem(10, [0.02, 4000, 250], 87.94585517018)
def meyer(x: Any) -> Any:
    c = nist.certified("MGH10")
    return x[0] * jnp.exp(x[1] / (c.x + x[2])) - c.y


@problem(11, [5, 2.5, 0.15], 0.0)
def gulf(x: Any) -> Any:
    """With |yᵢ − x₂| for the paper's |yᵢ m i x₂|, a misprint."""
    t = count(99) / 100
    y = 25 + (-50 * np.log(t)) ** (2 / 3)
    return jnp.exp(-(jnp.abs(y - x[1]) ** x[2]) / x[0]) - t


@problem(12, [0, 10, 20], 0.0)
def box(x: Any) -> Any:
    t = 0.1 * count(10)
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


@problem(13, [3, -1, 0, 1], 0.0)
def powell_singular(x: Any) -> Any:
    a, b, c, d = x
    return stack(a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2)


@problem(14, [-3, -1, -3, -1], 0.0)
def wood(x: Any) -> Any:
    a, b, c, d = x
    pair = 10**0.5 * (b + d - 2), 10**-0.5 * (b - d)
    return stack(10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, *pair)


@problem(15, [0.25, 0.39, 0.415, 0.39], 3.075056038492e-4, 1.027342e-3)
def kowalik_osborne(x: Any) -> Any:
    c = nist.certified("MGH09")
    return c.y - x[0] * (c.x**2 + c.x * x[1]) / (c.x**2 + c.x * x[2] + x[3])


@problem(16, [25, 5, -5, -1], 85822.20162635)
def brown_dennis(x: Any) -> Any:
    t = count(20) / 5
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


@problem(17, [0.5, 1.5, -1, 0.01, 0.02], 5.464894697483e-5)
def osborne_1(x: Any) -> Any:
    c = nist.certified("MGH17")
    return c.y - (x[0] + x[1] * jnp.exp(-c.x * x[3]) + x[2] * jnp.exp(-c.x * x[4]))


@problem(18, [1, 2, 1, 1, 1, 1], 0.0, 5.655649925500e-3)
def biggs_exp6(x: Any) -> Any:
    t = 0.1 * count(13)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1]) + x[5] * jnp.exp(-t * x[4]) - y


# fmt: off
OSBORNE_2 = np.array([
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
    0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
    0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
    0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
    0.054,
])
# fmt: on


@problem(19, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], 4.013773629355e-2)
def osborne_2(x: Any) -> Any:
    t = (count(65) - 1) / 10
    peaks = [x[i] * jnp.exp(-((t - x[i + 7]) ** 2) * x[i + 4]) for i in (1, 2, 3)]
    return OSBORNE_2 - (x[0] * jnp.exp(-t * x[4]) + sum(peaks))


@problem(20, [0] * 6, 2.287670053552e-3)
def watson(x: Any) -> Any:
    t = count(29)[:, None] / 29
    j = np.arange(x.size)
    slope = (j[1:] * t ** (j[1:] - 1)) @ x[1:]
    return stack(slope - ((t**j) @ x) ** 2 - 1, x[0], x[1] - x[0] ** 2 - 1)


@problem(21, [-1.2, 1] * 5, 0.0)
def extended_rosenbrock(x: Any) -> Any:
    odd, even = x[::2], x[1::2]
    return stack(10 * (even - odd**2), 1 - odd)


@problem(22, [3, -1, 0, 1] * 3, 0.0)
def extended_powell(x: Any) -> Any:
    a, b, c, d = (x[i::4] for i in range(4))
    return stack(a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2)


@problem(23, count(10), 7.087651467090e-5)
def penalty_1(x: Any) -> Any:
    return stack(1e-5**0.5 * (x - 1), x @ x - 0.25)


@problem(24, [0.5] * 10, 2.936605374567e-4)
def penalty_2(x: Any) -> Any:
    n, a = x.size, 1e-5**0.5
    i = count(n)
    y = np.exp(i[1:] / 10) + np.exp(i[:-1] / 10)
    rises = a * (jnp.exp(x[1:] / 10) + jnp.exp(x[:-1] / 10) - y)
    return stack(x[0] - 0.2, rises, a * (jnp.exp(x[1:] / 10) - np.exp(-0.1)), (n - i + 1) @ x**2 - 1)


@problem(25, 1 - count(10) / 10, 0.0)
def variably_dimensioned(x: Any) -> Any:
    s = count(x.size) @ (x - 1)
    return stack(x - 1, s, s**2)


@problem(26, [0.1] * 10, 0.0, 2.795056121879e-5)
def trigonometric(x: Any) -> Any:
    n = x.size
    return n - jnp.sum(jnp.cos(x)) + count(n) * (1 - jnp.cos(x)) - jnp.sin(x)


@problem(27, [0.5] * 10, 0.0, 1.0)
def brown_almost_linear(x: Any) -> Any:
    return stack(x[:-1] + jnp.sum(x) - (x.size + 1), jnp.prod(x) - 1)


def grid(n: int) -> tuple[float, np.ndarray]:
    return 1 / (n + 1), count(n) / (n + 1)


@problem(28, grid(10)[1] * (grid(10)[1] - 1), 0.0)
def discrete_boundary_value(x: Any) -> Any:
    h, t = grid(x.size)
    around = jnp.pad(x, 1)
    return 2 * x - around[:-2] - around[2:] + h**2 * (x + t + 1) ** 3 / 2


@problem(29, grid(10)[1] * (grid(10)[1] - 1), 0.0)
def discrete_integral_equation(x: Any) -> Any:
    h, t = grid(x.size)
    cube = (x + t + 1) ** 3
    below = jnp.cumsum(t * cube)
    above = jnp.sum((1 - t) * cube) - jnp.cumsum((1 - t) * cube)
    return x + h * ((1 - t) * below + t * above) / 2


@problem(30, [-1] * 10, 0.0)
def broyden_tridiagonal(x: Any) -> Any:
    around = jnp.pad(x, 1)
    return (3 - 2 * x) * x - around[:-2] - 2 * around[2:] + 1


@problem(31, [-1] * 10, 0.0)
def broyden_banded(x: Any) -> Any:
    i = np.arange(x.size)
    gap = i[:, None] - i[None, :]
    band = (gap <= 5) & (gap >= -1) & (gap != 0)
    return x * (2 + 5 * x**2) + 1 - band.astype(float) @ (x * (1 + x))


@problem(32, [1] * 10, 10.0)
def linear_full_rank(x: Any) -> Any:
    m, n = 20, x.size
    return stack(x, jnp.zeros(m - n)) - 2 / m * jnp.sum(x) - 1


@problem(33, [1] * 10, 20 * 19 / (2 * 41))
def linear_rank_1(x: Any) -> Any:
    return count(20) * (count(x.size) @ x) - 1


@problem(34, [1] * 10, (20**2 + 3 * 20 - 6) / (2 * 37))
def linear_rank_1_with_zeros(x: Any) -> Any:
    inner = count(x.size)[1:-1] @ x[1:-1]
    return stack(-1.0, (count(20)[1:-1] - 1) * inner - 1, -1.0)


@problem(35, count(8) / 9, 3.516873725677e-3)
def chebyquad(x: Any) -> Any:
    """With the Chebyshev polynomials of [0, 1]: the mean of Tᵢ over the points, less its integral."""
    n = x.size
    shifted = 2 * x - 1
    T = [jnp.ones_like(x), shifted]
    for _ in range(n - 1):
        T.append(2 * shifted * T[-1] - T[-2])
    integral = [0.0 if i % 2 else -1 / (i**2 - 1) for i in range(1, n + 1)]
    return stack(*(jnp.mean(t) - c for t, c in zip(T[1:], integral, strict=True)))


def by_size() -> list[tuple[int, list[MGH]]]:
    """The problems, those of as many variables together: they can share a compiled program."""
    ordered = sorted(PROBLEMS.values(), key=lambda p: (p.start.size, p.number))
    return [(n, list(group)) for n, group in itertools.groupby(ordered, key=lambda p: p.start.size)]


def values(problems: list[MGH]) -> Callable[[Any, Any], Any]:
    """(x, which) → F of one of the problems, so that all are one program."""
    return lambda x, which: jax.lax.switch(which, [p.value for p in problems], x)


def residuals(problems: list[MGH]) -> Callable[[Any, Any], Any]:
    """(x, which) → the residuals of one of the problems, made up with zeros to the most that any has."""
    longest = max(p.residual(p.start).size for p in problems)

    def padded(p: MGH) -> Callable[[Any], Any]:
        return lambda x: jnp.pad(p.residual(x), (0, longest - p.residual(p.start).size))

    return lambda x, which: jax.lax.switch(which, [padded(p) for p in problems], x)
