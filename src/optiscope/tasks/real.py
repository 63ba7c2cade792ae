"""Real data."""

from __future__ import annotations

import functools
import io

import numpy as np

from . import files
from .batches import batches
from .contract import task
from .supervised import MLP, Dataset, half_squared

ROWS = 1500


@functools.cache
def _airfoil_rows() -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(io.BytesIO(files.read("airfoil_self_noise.dat")))
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    return table[:ROWS, :-1], table[:ROWS, -1:]


@task
def airfoil(batch: int | None = 10, sampling: str = "epochs") -> Dataset:
    """NASA airfoil self-noise, 1500 rows × 5 features, linear model, ½ squared error (Brooks et al., 1989; UCI)"""
    inputs, targets = _airfoil_rows()
    design = np.hstack([inputs, np.ones((ROWS, 1))])
    residual = targets - design @ np.linalg.lstsq(design, targets)[0]
    floor = float(np.mean(residual**2) / 2)
    model = MLP((5, 1), scale=0.01)
    return Dataset(inputs, targets, "airfoil", model, half_squared, batches(ROWS, batch, sampling), floor)


@task
def airfoil_mlp(batch: int | None = 10, sampling: str = "epochs") -> Dataset:
    """The airfoil data with a 5–32–1 tanh network"""
    inputs, targets = _airfoil_rows()
    model = MLP((5, 32, 1))
    return Dataset(inputs, targets, "airfoil-mlp", model, half_squared, batches(ROWS, batch, sampling))
