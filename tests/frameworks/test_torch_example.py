"""The training example in plain PyTorch, on a few made-up digits, and on MNIST where its files are at hand."""

import gzip
import os
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist_torch.py"
MNIST = Path(os.environ.get("OPTISCOPE_DATA", "."), "mnist")


def write(path, numbers):
    head = bytes([0, 0, 8, numbers.ndim]) + b"".join(n.to_bytes(4, "big") for n in numbers.shape)
    path.write_bytes(gzip.compress(head + numbers.astype(np.uint8).tobytes()))


def test_learns_made_up_digits(tmp_path, capsys):
    """Each is a bright row of its own, under noise."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 1500), ("t10k", 300)):
        labels = rng.integers(0, 10, n)
        images = rng.integers(0, 100, (n, 28, 28))
        images[np.arange(n), 2 * labels + 3] += 150
        write(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
    assert runpy.run_path(str(EXAMPLE))["main"](tmp_path) > 0.95
    assert "epoch 2:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="OPTISCOPE_DATA names no folder with mnist/ in it")
def test_learns_mnist():
    assert runpy.run_path(str(EXAMPLE))["main"](MNIST) > 0.96
