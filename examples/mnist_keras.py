"""MNIST with Keras, on whichever backend it has: a 784–50–10 network, two epochs, and the optimizer in one line.

KERAS_BACKEND=jax python examples/mnist_keras.py FOLDER      # the four files of MNIST, as distributed: *-ubyte.gz
"""

import gzip
import sys
from pathlib import Path

import keras
import numpy as np

import optiscope as osc
from optiscope.frameworks.keras import Optimizer


def read(folder, part):
    """Images as rows of 784 numbers in [0, 1], and their digits."""
    files = (Path(folder, f"{part}-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1"))
    images, digits = (gzip.decompress(file.read_bytes()) for file in files)
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)
    return pixels.astype(np.float32) / 255, np.frombuffer(digits, np.uint8, offset=8).astype(np.int32)


def main(folder, rule=None, epochs=2, batch=64):
    """The accuracy on the test images."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((784,)), layers.Dense(50, "relu", kernel_initializer="he_normal"), layers.Dense(10)]
    )
    model.compile(
        optimizer=Optimizer(rule or osc.Adam(lr=1e-3)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*read(folder, "train"), batch_size=batch, epochs=epochs, verbose=0)
    return model.evaluate(*read(folder, "t10k"), verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    print(f"{main(sys.argv[1]):.1%} of the test images read right")
