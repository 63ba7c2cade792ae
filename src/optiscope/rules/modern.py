"""Later heirs of momentum and Adam."""

from __future__ import annotations

from typing import Any

from .adaptive import CORRECTED, RAW, adam_root
from .contract import Rule, State, hyper, rule, variant
from .descent import sign
from .spaces import LogUniform, OneMinusLogUniform, Uniform


@rule
class RAdam(Rule):
    """RAdam (Liu et al., 2020, Algorithm 2): Adam that waits for enough gradients before it trusts their variance.

        ρ∞ = 2 / (1 − β₂) − 1        ρ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
        r = √((ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ))
        step = − lr · r · m̂ / (√v̂ + ε)  where ρ > 5,  − lr · m̂  before

    The paper's `bound` on ρ is 4, practice's 5; `at_bound` says which side it belongs to. `eps_on` and `eps_root` are
    Adam's.
    """

    presets = {"torch": {"eps_on": RAW}, "optax": {"at_bound": "adaptive"}}
    slots = {"m": ("exp_avg", "mu", None), "v": ("exp_avg_sq", "nu", None)}

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, LogUniform(1e-10, 1e-2))
    bound: float = hyper(5.0, Uniform(4.0, 8.0))
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))
    eps_on: str = variant(CORRECTED, RAW)
    at_bound: str = variant("plain", "adaptive")

    def init(self, param: Any, xp: Any) -> State:
        return {"m": xp.zeros_like(param), "v": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m = self.b1 * state["m"] + (1 - self.b1) * grad
        v = self.b2 * state["v"] + (1 - self.b2) * grad * grad
        gone = 1 - self.b2**t
        m_hat = m / (1 - self.b1**t)
        root = adam_root(self, v / gone, gone, xp)

        rho_inf = 2 / (1 - self.b2) - 1
        rho = rho_inf - 2 * t * self.b2**t / gone
        # Both sides of `where` are computed, so r must stay real and finite where it is not used: β₂ = 0.6 has ρ∞ = 4.
        trusted = rho >= self.bound if self.at_bound == "adaptive" else rho > self.bound
        long = abs((rho_inf - 4) * (rho_inf - 2) * rho) + 1e-30
        r = (abs((rho - 4) * (rho - 2) * rho_inf) / long) ** 0.5
        return xp.where(trusted, -self.lr * r * m_hat / root, -self.lr * m_hat), {"m": m, "v": v}


@rule
class Lion(Rule):
    """Lion (Chen et al., 2023, Algorithm 2): the sign of an interpolation, with decoupled weight decay λ.

    step = − lr · (sign(β₁ m + (1 − β₁) g) + λ θ)        m ← β₂ m + (1 − β₂) g
    """

    presets = {"optax": {"weight_decay": 1e-3}, "keras": {"lr": 1e-3}}
    slots = {"m": (None, "mu", "m")}

    lr: float = hyper(1e-4, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.99, OneMinusLogUniform(1e-4, 1.0))
    weight_decay: float | None = hyper(None, LogUniform(1e-5, 1.0))

    def init(self, param: Any, xp: Any) -> State:
        return {"m": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        u = sign(self.b1 * state["m"] + (1 - self.b1) * grad, xp)
        u = u if self.weight_decay is None else u + self.weight_decay * param
        return -self.lr * u, {"m": self.b2 * state["m"] + (1 - self.b2) * grad}
