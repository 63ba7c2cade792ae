"""MNIST (LeCun, Bottou, Bengio & Haffner, 1998): 60,000 handwritten digits of 28×28 pixels and 10,000 to test on."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from . import files
from .batches import Everything, batches
from .checks import check_whole, widths
from .contract import task
from .convnet import ConvNet
from .supervised import MLP, Dataset, softmax

SIDE = 28
JUDGED = 2048
"""Rows of which the convolutional network's loss is recorded: that of all 60,000 costs as much as a thousand steps."""


def idx(raw: bytes) -> np.ndarray:
    """An IDX file's array: two zero bytes, the type (8, unsigned bytes), the number of axes, their lengths, data."""
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


@functools.cache
def images(part: str, size: int) -> tuple[np.ndarray, ...]:
    """Pixels from 0 to 1, shape (images, size²), and one-hot labels, float32 both."""
    pixels, labels = (
        idx(gzip.decompress(files.read(f"mnist/{part}-{what}-ubyte.gz"))) for what in ("images-idx3", "labels-idx1")
    )
    rows = shrunk(pixels / np.float32(255), size).reshape(len(pixels), -1), np.eye(10, dtype=np.float32)[labels]
    # Through JAX, whose arrays are aligned as its programs want them: they then read these in place, without a copy.
    return tuple(np.asarray(jnp.asarray(array)) for array in rows)


def shrunk(pixels: np.ndarray, size: int) -> np.ndarray:
    """Square images, shape (images, side, side), at a smaller size: each pixel the mean of the area it covers."""
    side = pixels.shape[1]
    if side == size:
        return pixels
    edges = np.arange(size + 1) * side / size
    low, high = np.maximum.outer(edges[:-1], np.arange(side)), np.minimum.outer(edges[1:], np.arange(side) + 1)
    share = (np.maximum(high - low, 0) * size / side).astype(pixels.dtype)
    return share @ pixels @ share.T


@task
def mnist(
    hidden: int | Sequence[int] = 50,
    activation: str = "relu",
    size: int = SIDE,
    batch: int | None = 64,
    sampling: str = "epochs",
) -> Dataset:
    """Handwritten digits of 28×28 pixels, 60,000 rows, 784–50–10 ReLU network, softmax (LeCun et al., 1998)"""
    model = MLP((_size("mnist", size) ** 2, *widths("mnist", hidden), 10), hidden=activation, scale="he")
    inputs, targets = images("train", size)
    drawn = batches(len(inputs), batch, sampling)
    return Dataset(inputs, targets, "mnist", model, softmax, drawn, test=images("t10k", size))


@task
def mnist_conv(
    channels: Sequence[int] = (32, 16, 16),
    kernels: Sequence[int] = (5, 3, 3),
    size: int = SIDE,
    batch: int | None = 32,
    sampling: str = "epochs",
    judged: int | None = JUDGED,
) -> Dataset:
    """MNIST with a four-layer convolutional ReLU network of stride 2 (Maheswaranathan et al., 2021, section 3)

    A run takes the paper's 200 steps, a tenth of an epoch. The loss and the training accuracy that are recorded are
    those of the first `judged` rows, None for all.
    """
    model = ConvNet(_size("mnist-conv", size), tuple(channels), tuple(kernels), 10)
    inputs, targets = images("train", size)
    drawn, test = batches(len(inputs), batch, sampling), images("t10k", size)
    if judged is not None:
        check_whole("mnist-conv", "judged", judged)
    if isinstance(drawn, Everything):
        judged = None  # each step sees the very loss that is recorded
    return Dataset(inputs, targets, "mnist-conv", model, softmax, drawn, judged=judged, horizon=200, test=test)


def _size(name: str, size: int) -> int:
    check_whole(name, "size", size, least=1, most=SIDE)
    return size
