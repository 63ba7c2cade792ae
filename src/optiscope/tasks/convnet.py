"""A small convolutional network, written as matrix products.

A convolution is the product of its input's patches with the kernel as a matrix. With a batch of 32 and a network for
every seed, XLA's own convolutions on a CPU take eight to ten times as long: `vmap` over kernels makes them grouped
convolutions, which it does one group at a time.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..errors import BadInput
from ..values import static, value
from .contract import Params


@value
class ConvNet:
    """Square images of one channel → convolutions with ReLU, padded so that strides alone shrink them → dense.

    Layer i has `channels[i]` channels, a square kernel of side `kernels[i]` and the stride `stride`. Weights are normal
    with standard deviation √(2 / inputs) (He et al., 2015); biases are zero.
    """

    size: int = static()
    channels: tuple[int, ...] = static()
    kernels: tuple[int, ...] = static()
    outputs: int = static()
    stride: int = static(default=2)

    def __post_init__(self) -> None:
        for what, given in (("channels", self.channels), ("kernels", self.kernels)):
            if not isinstance(given, tuple) or not given or not all(isinstance(n, int) and n >= 1 for n in given):
                raise BadInput(f"{what} must be whole numbers ≥ 1, one for each layer, not {given!r}")
        if len(self.channels) != len(self.kernels):
            raise BadInput(
                f"there must be as many kernels as channels, not {len(self.kernels)} and {len(self.channels)}: "
                f"{self.kernels!r} and {self.channels!r}"
            )

    def init(self, key: Any) -> Params:
        layers, side, depth = [], self.size, 1
        for i, (channels, kernel) in enumerate(zip(self.channels, self.kernels, strict=True)):
            layers.append(_layer(jax.random.fold_in(key, i), (kernel * kernel * depth, channels)))
            side, depth = -(-side // self.stride), channels
        layers.append(_layer(jax.random.fold_in(key, len(layers)), (side * side * depth, self.outputs)))
        return layers

    def __call__(self, params: Params, inputs: Any) -> Any:
        """(rows, size²) → (rows, outputs). A convolution's weights are (kernel · kernel · channels in, channels)."""
        x = inputs.reshape(-1, self.size, self.size, 1)
        for layer, kernel in zip(params[:-1], self.kernels, strict=True):
            x = jax.nn.relu(_patches(x, kernel, self.stride) @ layer["w"] + layer["b"][None, None, None, :])
        return x.reshape(len(x), -1) @ params[-1]["w"] + params[-1]["b"][None, :]


def _layer(key: Any, shape: tuple[int, int]) -> dict[str, Any]:
    return {"w": (2 / shape[0]) ** 0.5 * jax.random.normal(key, shape), "b": jnp.zeros(shape[1:])}


def _patches(x: Any, kernel: int, stride: int) -> Any:
    """(rows, side, side, channels) → (rows, ⌈side / stride⌉, ⌈side / stride⌉, kernel · kernel · channels)."""
    side = x.shape[1]
    places = -(-side // stride)
    short = max((places - 1) * stride + kernel - side, 0)
    x = jnp.pad(x, ((0, 0), *[(short // 2, short - short // 2)] * 2, (0, 0)))
    reach = (places - 1) * stride + 1
    shifted = [x[:, i : i + reach : stride, j : j + reach : stride] for i in range(kernel) for j in range(kernel)]
    return jnp.concatenate(shifted, axis=-1)
