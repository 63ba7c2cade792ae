"""MNIST with Flax NNX: a 784–50–10 network, two epochs, and the optimizer in one line.

python examples/mnist_flax.py FOLDER      # the four files of MNIST, as distributed: *-ubyte.gz
"""

import gzip
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import optiscope as osc
from optiscope.frameworks.optax import transform


def read(folder, part):
    """Images as rows of 784 numbers in [0, 1], and their digits."""
    files = (Path(folder, f"{part}-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1"))
    images, digits = (gzip.decompress(file.read_bytes()) for file in files)
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)
    return pixels.astype(np.float32) / 255, np.frombuffer(digits, np.uint8, offset=8).astype(np.int32)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(784, 50, rngs=rngs, kernel_init=nnx.initializers.he_normal())
        self.out = nnx.Linear(50, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


@nnx.jit
def step(model, optimizer, images, digits):
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), digits).mean()

    optimizer.update(model, nnx.grad(loss)(model))


def main(folder, rule=None, epochs=2, batch=64):
    """The accuracy on the test images."""
    images, digits = read(folder, "train")
    model = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, transform(rule or osc.Adam(lr=1e-3)), wrt=nnx.Param)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in order.permutation(len(images))[: len(images) // batch * batch].reshape(-1, batch):
            step(model, optimizer, images[rows], digits[rows])
    images, digits = read(folder, "t10k")
    return float((jnp.argmax(model(images), axis=1) == digits).mean())


if __name__ == "__main__":
    print(f"{main(sys.argv[1]):.1%} of the test images read right")
