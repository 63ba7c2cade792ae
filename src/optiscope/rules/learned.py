"""Learned optimizers: rules whose leaves are the weights of a small network.

Every network here acts on the parameters one by one, with the same weights for all (Andrychowicz et al., 2016), so that
a rule trained on five parameters steps a million. `untrained` makes one; `osc.train` gives it its weights.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from ..errors import BadInput, unknown
from ..values import value
from .contract import Rule, State, hyper, make, rule, variant
from .spaces import LogUniform

Weights = Mapping[str, Any]
"""Arrays by name."""


Draw = Callable[[int, int], np.ndarray]
"""(inputs, outputs) → random weights of that shape."""
_SIZES: dict[str, Callable[[int, int], float]] = {
    "lecun": lambda fan_in, fan_out: fan_in,
    "glorot": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}
"""One over the variance of a weight, from the numbers of inputs and outputs."""


class Learned(Rule):
    """A rule whose weights are leaves beside its hyperparameters."""

    @classmethod
    @abstractmethod
    def untrained(cls, *, units: int, layers: int, seed: int, **settings: Any) -> Self:
        """A rule with random weights."""

    @property
    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """What `untrained` has to be told to make a rule of this form."""


@value
class Recurrent(Learned):
    """A recurrent network over the gradients that a parameter meets (Maheswaranathan et al., 2021, section 2).

        x = g, or (log(1 + |g|), sign g)         with `gain` · g for g
        h¹ ← cell¹(x, h¹),   h² ← cell²(h¹, h²), …
        step = lr · (wᵀh + b)                    h of the last layer

    The first states are learned too. The state of each layer has the parameter's shape and an axis of units.
    """

    cells: tuple[Weights, ...]
    """The weights of each layer, whose names are those of the formula of the cell; `h0` is where its state begins."""
    readout: Weights
    """`w`, of shape (units,), and `b`, of shape (1,)."""
    lr: float = hyper(1.0, LogUniform(1e-4, 1e2))
    gain: float = hyper(1.0, LogUniform(1e-3, 1e3))
    inputs: str = variant("raw", "log1p")

    @classmethod
    def untrained(
        cls, *, units: int = 64, layers: int = 1, seed: int = 0, weights: str = "lecun", **settings: Any
    ) -> Self:
        """A rule with random cells and a readout of zeros, so that it stands still until it is trained.

        Args:
            units: the width of each layer.
            seed: of the random weights.
            weights: how large these are: "lecun", a variance of 1 / inputs (LeCun et al., 1998), or "glorot", of
                2 / (inputs + outputs) (Glorot & Bengio, 2010), which leaves the gates open to raw gradients.
            settings: of the rule's other fields: lr, gain, inputs.

        Raises:
            BadInput: units, layers or a setting are invalid.
        """
        _check(cls, units=units, layers=layers)
        if weights not in _SIZES:
            raise BadInput(f"{cls.name}: weights must be one of {', '.join(_SIZES)}, not {weights!r}")
        draw = functools.partial(_normal, np.random.default_rng(seed), _SIZES[weights])
        wide = 2 if settings.get("inputs") == "log1p" else 1
        cells = tuple(cls._cell(wide if i == 0 else units, units, draw) for i in range(layers))
        return make(cls, cells=cells, readout={"w": _zeros(units), "b": _zeros(1)}, **settings)

    @classmethod
    @abstractmethod
    def _cell(cls, inputs: int, units: int, draw: Draw) -> Weights:
        """Random weights for one layer."""

    @abstractmethod
    def _advance(self, cell: Weights, x: Any, h: Any, xp: Any) -> Any:
        """One layer: inputs (n, inputs) and states (n, width) to new states."""

    def _seen(self, h: Any) -> Any:
        """What of a layer's state goes on to the next."""
        return h

    @property
    def architecture(self) -> dict[str, Any]:
        return {"units": int(self.readout["w"].shape[-1]), "layers": len(self.cells), "inputs": self.inputs}

    def init(self, param: Any, xp: Any) -> State:
        ones = xp.ones_like(param)[..., None]
        return {
            f"h{i}": ones * xp.reshape(cell["h0"], (1,) * len(param.shape) + (-1,)) for i, cell in enumerate(self.cells)
        }

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        g = self.gain * xp.reshape(grad, (-1, 1))
        x = g if self.inputs == "raw" else xp.concatenate([xp.log1p(xp.abs(g)), xp.sign(g)], 1)
        new = {}
        for i, cell in enumerate(self.cells):
            h = self._advance(cell, x, xp.reshape(state[f"h{i}"], (-1, cell["h0"].shape[-1])), xp)
            new[f"h{i}"] = xp.reshape(h, state[f"h{i}"].shape)
            x = self._seen(h)
        # TensorFlow's own @ takes no vector.
        step = self.lr * (xp.matmul(x, self.readout["w"]) + self.readout["b"])
        return xp.reshape(step, grad.shape), new


@rule
class GRU(Recurrent):
    """Gated recurrent units (Cho et al., 2014), the reset gate on the product as in cuDNN.

        r = σ(x W_r + h U_r + b_r)       z = σ(x W_z + h U_z + b_z)
        n = tanh(x W_n + r (h U_n + c) + b_n)
        h ← (1 − z) n + z h

    W, U and b hold the three side by side, in the order r, z, n.
    """

    @classmethod
    def _cell(cls, inputs: int, units: int, draw: Draw) -> Weights:
        return {
            "W": draw(inputs, 3 * units),
            "U": draw(units, 3 * units),
            "b": _zeros(3 * units),
            "c": _zeros(units),
            "h0": _zeros(units),
        }

    def _advance(self, cell: Weights, x: Any, h: Any, xp: Any) -> Any:
        n = h.shape[-1]
        a, u = x @ cell["W"] + cell["b"][None, :], h @ cell["U"]
        r = _sigmoid(a[:, :n] + u[:, :n], xp)
        z = _sigmoid(a[:, n : 2 * n] + u[:, n : 2 * n], xp)
        new = xp.tanh(a[:, 2 * n :] + r * (u[:, 2 * n :] + cell["c"][None, :]))
        return new + z * (h - new)


@rule
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997, with the forget gate of Gers et al., 2000).

        i, f, o = σ(x W + h U + b)       n = tanh(x W_n + h U_n + b_n)
        c ← f c + i n                    h ← o tanh c

    W, U and b hold the four side by side, in the order i, f, o, n; the state holds h, then c.
    """

    @classmethod
    def _cell(cls, inputs: int, units: int, draw: Draw) -> Weights:
        b = _zeros(4 * units)
        b[units : 2 * units] = 1  # it begins by remembering (Jozefowicz et al., 2015)
        return {
            "W": draw(inputs, 4 * units),
            "U": draw(units, 4 * units),
            "b": b,
            "h0": _zeros(2 * units),
        }

    def _advance(self, cell: Weights, x: Any, h: Any, xp: Any) -> Any:
        n = h.shape[-1] // 2
        a = x @ cell["W"] + h[:, :n] @ cell["U"] + cell["b"][None, :]
        i, f, o = (_sigmoid(a[:, k * n : (k + 1) * n], xp) for k in range(3))
        c = f * h[:, n:] + i * xp.tanh(a[:, 3 * n :])
        return xp.concatenate([o * xp.tanh(c), c], 1)

    def _seen(self, h: Any) -> Any:
        return h[:, : h.shape[-1] // 2]


@rule
class VanillaRNN(Recurrent):
    """A plain recurrent network (Elman, 1990): h ← tanh(x W + h U + b)."""

    name = "rnn"

    @classmethod
    def _cell(cls, inputs: int, units: int, draw: Draw) -> Weights:
        return {
            "W": draw(inputs, units),
            "U": draw(units, units),
            "b": _zeros(units),
            "h0": _zeros(units),
        }

    def _advance(self, cell: Weights, x: Any, h: Any, xp: Any) -> Any:
        return xp.tanh(x @ cell["W"] + h @ cell["U"] + cell["b"][None, :])


@rule
class LinearSystem(Recurrent):
    """A linear dynamical system, h ← x W + h U: every sum of momentum terms is one. It begins as momentum terms alone.

    Their decay rates are spread from 0 to 0.99, evenly in the logarithm of the time each remembers.
    """

    name = "lds"

    @classmethod
    def _cell(cls, inputs: int, units: int, draw: Draw) -> Weights:
        decay = 1 - np.geomspace(1, 0.01, units)
        return {
            "W": (draw(inputs, units) * (1 - decay)).astype(np.float32),
            "U": np.diag(decay).astype(np.float32),
            "h0": _zeros(units),
        }

    def _advance(self, cell: Weights, x: Any, h: Any, xp: Any) -> Any:
        return x @ cell["W"] + h @ cell["U"]


MOMENTA = (0.9, 0.99, 0.999)
"""Decay rates of the averages that `SmallFC` sees."""
HEAVY = 0.999
"""Decay rate of its average of squares."""
EPS = 1e-12
"""Below what root-mean-square a feature counts as zero."""
FEATURES = 4 + 2 * len(MOMENTA)


@rule
class SmallFC(Learned):
    """A small network over momentum features that turns Adam's direction (Metz et al., 2022; Celo2, 2026).

        mₖ ← βₖ mₖ + (1 − βₖ) g,   βₖ = 0.9, 0.99, 0.999        v ← 0.999 v + 0.001 g²       both bias-corrected
        x = (g, m₁, m₂, m₃, g/√v, m₁/√v, m₂/√v, m₃/√v, √v, θ)   each over its root-mean-square in the tensor
        d = m₁/√v + network(x)                                  over its root-mean-square in the tensor
        step = − lr · d

    The network gives the direction alone: how far, and by which schedule, is `lr`'s to say. Untrained it is Adam's
    direction at one length. Its units are written out one by one, so that a compiler makes one pass of them.
    """

    name = "small-fc"
    layers: tuple[Weights, ...]
    """`W` (in, out) and `b` (out,) of each layer; ReLU between them, one output at the end."""
    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))

    @classmethod
    def untrained(cls, *, units: int = 8, layers: int = 2, seed: int = 0, **settings: Any) -> Self:
        """A rule with `layers` hidden layers of `units` random units, whose output is zero until it is trained.

        Raises:
            BadInput: units, layers or a setting are invalid.
        """
        _check(cls, units=units, layers=layers)
        draw = functools.partial(_normal, np.random.default_rng(seed), _SIZES["lecun"])
        widths = [FEATURES, *[units] * layers]
        hidden = [{"W": draw(a, b), "b": _zeros(b)} for a, b in itertools.pairwise(widths)]
        last = {"W": np.zeros((units, 1), np.float32), "b": _zeros(1)}
        return make(cls, layers=(*hidden, last), **settings)

    @property
    def architecture(self) -> dict[str, Any]:
        return {"units": int(self.layers[0]["b"].shape[-1]), "layers": len(self.layers) - 1}

    @property
    def elementwise(self) -> bool:
        return False

    def init(self, param: Any, xp: Any) -> State:
        zero = xp.zeros_like(param)
        return {"m": xp.stack([zero] * len(MOMENTA), -1), "v": zero}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m = [b * state["m"][..., k] + (1 - b) * grad for k, b in enumerate(MOMENTA)]
        v = HEAVY * state["v"] + (1 - HEAVY) * grad * grad
        root = xp.sqrt(v / (1 - HEAVY**t))
        seen = [grad, *(m_k / (1 - b**t) for m_k, b in zip(m, MOMENTA, strict=True))]
        # Where no gradient has come yet root is 0, and so is what it divides.
        scaled = [x / (root + EPS) for x in seen]
        x = [_normalised(x, xp) for x in (*seen, *scaled, root, param)]
        for layer in self.layers[:-1]:
            x = [(a + xp.abs(a)) / 2 for a in _dense(x, layer)]
        (turn,) = _dense(x, self.layers[-1])
        # A parameter that no gradient has reached stays where it is.
        d = (scaled[1] + turn) * xp.sign(root)
        return -self.lr * _normalised(d, xp), {"m": xp.stack(m, -1), "v": v}


def _dense(x: list[Any], layer: Weights) -> list[Any]:
    """A layer over features that are arrays of the parameter's shape."""
    w, b = layer["W"], layer["b"]
    return [sum((x[i] * w[i, j] for i in range(len(x))), start=b[j]) for j in range(w.shape[-1])]


def _normalised(x: Any, xp: Any) -> Any:
    return x / (xp.sqrt(xp.sum(x * x) / max(1, math.prod(x.shape))) + EPS)


def _check(cls: type[Rule], **given: Any) -> None:
    for what, number in given.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise BadInput(f"{cls.name}: {what} must be a whole number ≥ 1, not {number!r}")


def _sigmoid(x: Any, xp: Any) -> Any:
    """σ(x) in a form that every namespace has and that never overflows."""
    return (1 + xp.tanh(x / 2)) / 2


def _normal(draws: np.random.Generator, size: Callable[[int, int], float], fan_in: int, fan_out: int) -> np.ndarray:
    return (draws.standard_normal((fan_in, fan_out)) / math.sqrt(size(fan_in, fan_out))).astype(np.float32)


def _zeros(n: int) -> np.ndarray:
    return np.zeros(n, np.float32)


ARCHITECTURES: dict[str, type[Learned]] = {cls.name: cls for cls in (GRU, LSTM, VanillaRNN, LinearSystem, SmallFC)}


def learned(name: str, **settings: Any) -> Learned:
    """A learned rule with random weights, by the name of its network: `learned("gru", units=16)`.

    Raises:
        BadInput: no network has the name, or a setting is invalid.
    """
    if name.lower() not in ARCHITECTURES:
        raise unknown("learned rule", name, ARCHITECTURES, "osc.train's documentation")
    return ARCHITECTURES[name.lower()].untrained(**settings)
