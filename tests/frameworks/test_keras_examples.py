"""The examples in Flax and Keras: on a few drawn digits always, on MNIST itself where its files are."""

import gzip
import importlib.util
import os
from pathlib import Path

import jax
import keras
import numpy as np
import pytest

import optiscope as osc

ROOT = Path(__file__).parent.parent.parent
MNIST = Path(os.environ.get("OPTISCOPE_DATA", ROOT.parent / "shared" / "data")) / "mnist"

# Keras's variables do not know the argument that NumPy 2 gave to __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

each_example = pytest.mark.parametrize("name", ["mnist_flax", "mnist_keras"])


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawn(tmp_path):
    """Files as MNIST's, of images that are noise around one bright row for each digit."""
    draws = np.random.default_rng(0)
    for part, count in (("train", 1000), ("t10k", 200)):
        digits = draws.integers(0, 10, count).astype(np.uint8)
        images = draws.integers(0, 100, (count, 28, 28)).astype(np.uint8)
        images[np.arange(count), 5 + digits] = 255
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes()))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + digits.tobytes()))
    return tmp_path


@pytest.fixture(autouse=True)
def _keras_adds_biases_of_lower_rank():
    with jax.numpy_rank_promotion("allow"):
        yield


@each_example
def test_an_example_learns_drawn_digits(name, drawn):
    assert keras.config.floatx() == "float32"
    assert example(name).main(drawn, osc.Adam(lr=1e-2)) > 0.95


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="the files of MNIST are in neither OPTISCOPE_DATA nor ../shared/data")
@each_example
def test_an_example_reads_mnist(name):
    assert example(name).main(MNIST) > 0.94
