"""Real data."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Sequence

import numpy as np

from . import files
from .batches import batches
from .checks import widths
from .contract import task
from .convnet import ConvNet
from .supervised import MLP, Dataset, half_squared, softmax

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
def airfoil_mlp(
    hidden: int | Sequence[int] = 32, activation: str = "tanh", batch: int | None = 10, sampling: str = "epochs"
) -> Dataset:
    """The airfoil data with a 5–32–1 tanh network"""
    inputs, targets = _airfoil_rows()
    model = MLP((5, *widths("airfoil-mlp", hidden), 1), hidden=activation)
    return Dataset(inputs, targets, "airfoil-mlp", model, half_squared, batches(ROWS, batch, sampling))


@functools.cache
def _digits_rows() -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(io.BytesIO(gzip.decompress(files.read("digits.csv.gz"))), delimiter=",")
    return table[:, :-1] / 16, np.eye(10)[table[:, -1].astype(int)]


@task
def digits(
    hidden: int | Sequence[int] = 32, activation: str = "relu", batch: int | None = 64, sampling: str = "epochs"
) -> Dataset:
    """8×8 handwritten digits, 1797 rows, 64–32–10 ReLU network, softmax (Alpaydin & Kaynak, 1998; UCI)"""
    inputs, targets = _digits_rows()
    model = MLP((64, *widths("digits", hidden), 10), hidden=activation, scale="he")
    return Dataset(inputs, targets, "digits", model, softmax, batches(len(inputs), batch, sampling))


@task
def digits_conv(
    channels: Sequence[int] = (8, 8),
    kernels: Sequence[int] = (3, 3),
    batch: int | None = 64,
    sampling: str = "epochs",
) -> Dataset:
    """The 8×8 digits with a small convolutional ReLU network of stride 2"""
    inputs, targets = _digits_rows()
    model = ConvNet(8, tuple(channels), tuple(kernels), 10)
    return Dataset(inputs, targets, "digits-conv", model, softmax, batches(len(inputs), batch, sampling))
