"""The NIST Statistical Reference Datasets for nonlinear regression: 27 data sets with certified results."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "nist_strd"


@dataclasses.dataclass(frozen=True)
class Certified:
    """One data set and what is certified of it."""

    name: str
    starts: np.ndarray
    """Two starts, shape (2, n)."""
    parameters: np.ndarray
    """Certified to 11 digits, shape (n,)."""
    errors: np.ndarray
    """The certified standard errors, shape (n,)."""
    rss: float
    x: np.ndarray
    """The predictors, shape (m,), or (2, m) for Nelson."""
    y: np.ndarray

    @property
    def model(self) -> Callable[[Any, Any], Any]:
        return MODELS[self.name]

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictors and responses as the model has them: Nelson's model is of log y."""
        return self.x, np.log(self.y) if self.name == "Nelson" else self.y


def _gauss(b: Any, x: Any) -> Any:
    return (
        b[0] * jnp.exp(-b[1] * x)
        + b[2] * jnp.exp(-((x - b[3]) ** 2) / b[4] ** 2)
        + b[5] * jnp.exp(-((x - b[6]) ** 2) / b[7] ** 2)
    )


def _lanczos(b: Any, x: Any) -> Any:
    return b[0] * jnp.exp(-b[1] * x) + b[2] * jnp.exp(-b[3] * x) + b[4] * jnp.exp(-b[5] * x)


def _cubic_over_cubic(b: Any, x: Any) -> Any:
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def _chwirut(b: Any, x: Any) -> Any:
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


def _saturation(b: Any, x: Any) -> Any:
    return b[0] * (1 - jnp.exp(-b[1] * x))


def _enso(b: Any, x: Any) -> Any:
    angle = 2 * jnp.pi * x
    return (
        b[0]
        + b[1] * jnp.cos(angle / 12)
        + b[2] * jnp.sin(angle / 12)
        + b[4] * jnp.cos(angle / b[3])
        + b[5] * jnp.sin(angle / b[3])
        + b[7] * jnp.cos(angle / b[6])
        + b[8] * jnp.sin(angle / b[6])
    )


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": _saturation,
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubic_over_cubic,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Lanczos3": _lanczos,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4]),
    "Misra1a": _saturation,
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[0] * jnp.exp(-b[2] * x[1]),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / jnp.pi,
    "Thurber": _cubic_over_cubic,
}


@functools.cache
def certified(name: str) -> Certified:
    """A data set, read from its file: the lines are where the file's own header says."""
    lines = (FOLDER / f"{name}.dat").read_text().splitlines()

    def section(title: str) -> list[str]:
        found = next(re.search(r"lines\s+(\d+)\s+to\s+(\d+)", line) for line in lines if line.strip().startswith(title))
        assert found
        return lines[int(found[1]) - 1 : int(found[2])]

    rows = [line.split("=")[1].split() for line in section("Certified Values") if re.match(r"\s*b\d+\s*=", line)]
    table = np.array(rows, float)
    rss = next(float(line.split(":")[1]) for line in lines if line.startswith("Residual Sum of Squares"))
    data = np.array([line.split() for line in section("Data  ") if line.strip()], float)
    x = data[:, 1] if data.shape[1] == 2 else data[:, 1:].T
    return Certified(name, table[:, :2].T, table[:, 2], table[:, 3], rss, x, data[:, 0])


def digits(found: Any, wanted: Any) -> float:
    """The least number of digits to which entries agree: −log₁₀ of the largest relative error."""
    error = np.max(np.abs(np.asarray(found) - wanted) / np.abs(wanted))
    return float("-inf") if not np.isfinite(error) else 16.0 if error == 0 else -float(np.log10(error))
