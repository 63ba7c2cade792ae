"""Descent along the gradient: the plain step, its momentum forms, and its sign."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput
from .contract import Rule, State, hyper, rule, variant
from .spaces import LogUniform, OneMinusLogUniform, Uniform


@rule
class GradientDescent(Rule):
    """Gradient descent (Cauchy, 1847).

        step = − lr · g

    "Batch", "mini-batch" and "stochastic" gradient descent (Robbins & Monro, 1951) are this one rule: what differs is
    how many rows the gradient is averaged over, and that is the task's `batch`.
    """

    name = "gd"
    aliases = ("sgd",)
    presets = {"torch": {"lr": 1e-3}, "optax": {}, "keras": {"lr": 0.01}}

    lr: float = hyper(0.01, LogUniform(1e-6, 1e1))

    def init(self, param: Any, xp: Any) -> State:
        return {}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        return -self.lr * grad, {}


@rule
class Momentum(Rule):
    """Momentum, or the heavy ball (Polyak, 1964).

        v ← μ v + g        step = − lr · v

    With `dampening` d the gradient enters as (1 − d) g; with `average`, as (1 − μ) g, so that v is an exponential
    moving average. `lr_in="velocity"` scales the gradient before it enters v, which differs once lr changes.
    `first="undamped"` lets the first gradient in whole, as torch does.
    """

    presets = {"torch": {"lr": 1e-3, "first": "undamped"}, "optax": {}, "keras": {"lr_in": "velocity"}}
    slots = {"v": ("momentum_buffer", "trace", "momentum")}

    lr: float = hyper(0.01, LogUniform(1e-6, 1e1))
    momentum: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    dampening: float | None = hyper(None, Uniform(0.0, 1.0))
    average: bool = variant(False, True)
    lr_in: str = variant("step", "velocity")
    first: str = variant("damped", "undamped")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average and self.dampening is not None:
            raise BadInput("momentum: average=True is dampening equal to momentum; give one of the two")

    def init(self, param: Any, xp: Any) -> State:
        return {"v": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        u = -self.lr * grad if self.lr_in == "velocity" else grad
        gain = 1 - self.momentum if self.average else 1 if self.dampening is None else 1 - self.dampening
        v = self.momentum * state["v"] + gain * u
        if self.first == "undamped":
            v = xp.where(t == 1, u, v)
        return v if self.lr_in == "velocity" else -self.lr * v, {"v": v}


@rule
class Nesterov(Rule):
    """Nesterov's accelerated gradient (Nesterov, 1983; in this form Sutskever et al., 2013).

    The paper takes the gradient at a look-ahead point and steps from where it stands:

        v' = μ v − lr · ∇f(θ + μ v)        θ' = θ + v'

    A rule is given the gradient at the parameter, so the parameter here is the look-ahead point φ = θ + μ v, and the
    step leads to the next one. Written out ("look-ahead"), and simplified (Bengio et al., 2013: "velocity"):

        φ' − φ = (1 + μ) v' − μ v = μ v' − lr · g

    "gradient sum" keeps lr out of the buffer: b ← μ b + g, step = − lr (g + μ b). The three are equal in exact
    arithmetic while lr is constant, the first two always. The paper's iterate is θ = φ − μ v.
    """

    presets = {"torch": {"lr": 1e-3, "form": "gradient sum"}, "optax": {"form": "gradient sum"}, "keras": {}}
    slots = {"v": ("momentum_buffer", "trace", "momentum")}

    lr: float = hyper(0.01, LogUniform(1e-6, 1e1))
    momentum: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    form: str = variant("velocity", "look-ahead", "gradient sum")

    def init(self, param: Any, xp: Any) -> State:
        return {"v": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        mu, v = self.momentum, state["v"]
        if self.form == "gradient sum":
            b = mu * v + grad
            return -self.lr * (grad + mu * b), {"v": b}
        v_next = mu * v - self.lr * grad
        step = (1 + mu) * v_next - mu * v if self.form == "look-ahead" else mu * v_next - self.lr * grad
        return step, {"v": v_next}


def sign(x: Any, xp: Any) -> Any:
    """−1, 0 or 1. A NaN stays one everywhere: torch's own sign makes it 0, and a broken gradient would go unseen."""
    return xp.where(x == x, xp.sign(x), x)


@rule
class SignDescent(Rule):
    """Sign descent (signSGD: Bernstein et al., 2018, Algorithm 1).

    step = − lr · sign(g)
    """

    name = "sign"
    aliases = ("signsgd",)
    presets = {"optax": {}}

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))

    def init(self, param: Any, xp: Any) -> State:
        return {}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        return -self.lr * sign(grad, xp), {}
