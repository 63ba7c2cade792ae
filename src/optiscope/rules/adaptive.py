"""Adaptive rules: each coordinate's rate is divided by a record of its own gradients.

m is a moving average of the gradient, v of its square, m̂ and v̂ the same with the bias of the zero start removed.
"""

from __future__ import annotations

from typing import Any

from .contract import Rule, State, hyper, rule, variant
from .spaces import LogUniform, OneMinusLogUniform, Uniform

OUTSIDE, INSIDE = "outside root", "inside root"
CORRECTED, RAW = "corrected v", "raw v"


def _root(v: Any, eps: Any, eps_at: str, xp: Any) -> Any:
    return xp.sqrt(v + eps) if eps_at == INSIDE else xp.sqrt(v) + eps


EPSILONS = LogUniform(1e-10, 1.0)
"""Up to 1: a large ε makes an adaptive rule a damped one, which is at times the best (Choi et al., 2020)."""


@rule
class AdaGrad(Rule):
    """AdaGrad (Duchi, Hazan & Singer, 2011, diagonal form).

        a ← a + g²        step = − lr · g / (√a + ε)

    `mean` divides a by t first, the root mean square in place of the root of the sum; `initial` is a's first value.
    """

    presets = {
        "torch": {"eps": 1e-10},
        "optax": {"initial": 0.1, "eps": 1e-7, "eps_at": INSIDE},
        "keras": {"lr": 1e-3, "initial": 0.1, "eps": 1e-7, "eps_at": INSIDE},
    }
    slots = {"a": ("sum", "sum_of_squares", "accumulator")}

    lr: float = hyper(0.01, LogUniform(1e-6, 1e1))
    eps: float = hyper(1e-10, EPSILONS)
    initial: float = hyper(0.0, LogUniform(1e-3, 1.0), tuned=False)
    eps_at: str = variant(OUTSIDE, INSIDE)
    mean: bool = variant(False, True)

    def init(self, param: Any, xp: Any) -> State:
        return {"a": xp.full_like(param, self.initial)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        a = state["a"] + grad * grad
        return -self.lr * grad / _root(a / t if self.mean else a, self.eps, self.eps_at, xp), {"a": a}


@rule
class AdaDelta(Rule):
    """AdaDelta (Zeiler, 2012, Algorithm 1), whose own step has lr = 1.

    E[g²] ← ρ E[g²] + (1 − ρ) g²
    Δ = − √(E[Δ²] + ε) / √(E[g²] + ε) · g        step = lr · Δ
    E[Δ²] ← ρ E[Δ²] + (1 − ρ) Δ²
    """

    presets = {"torch": {"rho": 0.9}, "optax": {"rho": 0.9}, "keras": {"lr": 1e-3, "eps": 1e-7}}
    slots = {
        "e_g": ("square_avg", "e_g", "accumulated_gradient"),
        "e_x": ("acc_delta", "e_x", "accumulated_delta_var"),
    }

    lr: float = hyper(1.0, LogUniform(1e-6, 1e1))
    rho: float = hyper(0.95, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-6, EPSILONS)

    def init(self, param: Any, xp: Any) -> State:
        return {"e_g": xp.zeros_like(param), "e_x": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        e_g = self.rho * state["e_g"] + (1 - self.rho) * grad * grad
        delta = -xp.sqrt(state["e_x"] + self.eps) / xp.sqrt(e_g + self.eps) * grad
        e_x = self.rho * state["e_x"] + (1 - self.rho) * delta * delta
        return self.lr * delta, {"e_g": e_g, "e_x": e_x}


@rule
class RMSProp(Rule):
    """RMSProp (Tieleman & Hinton, 2012, Coursera lecture 6.5), centred as in Graves (2013, equations 38–45).

        v ← ρ v + (1 − ρ) g²        step = − lr · g / (√v + ε)

    `centered` subtracts the square of the mean gradient m from v; `corrected` removes the bias of the start from both.
    `momentum` μ smooths the normalised gradient u: b ← μ b + u, with lr applied to u ("velocity") or to b ("step").
    `nesterov` then steps by μ b + u. `initial` is v's first value.
    """

    presets = {
        "torch": {"lr": 0.01, "rho": 0.99, "lr_in": "step"},
        "optax": {"eps_at": INSIDE},
        "keras": {"eps": 1e-7, "eps_at": INSIDE},
    }
    slots = {
        "v": ("square_avg", "nu", "velocity"),
        "m": ("grad_avg", "mu", "average_gradient"),
        "b": ("momentum_buffer", "trace", "momentum"),
    }

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    rho: float = hyper(0.9, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    momentum: float | None = hyper(None, OneMinusLogUniform(1e-3, 1.0))
    initial: float = hyper(0.0, Uniform(0.0, 1.0), tuned=False)
    eps_at: str = variant(OUTSIDE, INSIDE)
    centered: bool = variant(False, True)
    corrected: bool = variant(False, True)
    lr_in: str = variant("velocity", "step")
    nesterov: bool = variant(False, True)

    def init(self, param: Any, xp: Any) -> State:
        state = {"v": xp.full_like(param, self.initial)}
        if self.centered:
            state["m"] = xp.zeros_like(param)
        if self.momentum is not None:
            state["b"] = xp.zeros_like(param)
        return state

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        gone = 1 - self.rho**t if self.corrected else 1
        v = self.rho * state["v"] + (1 - self.rho) * grad * grad
        new, spread = {"v": v}, v / gone
        if self.centered:
            new["m"] = self.rho * state["m"] + (1 - self.rho) * grad
            # A variance, which only rounding makes negative: of one gradient, or of equal ones, it is 0.
            spread = xp.maximum(spread - (new["m"] / gone) ** 2, xp.zeros_like(spread))
        u = grad / _root(spread, self.eps, self.eps_at, xp)
        if self.momentum is None:
            return -self.lr * u, new
        u = self.lr * u if self.lr_in == "velocity" else u
        b = new["b"] = self.momentum * state["b"] + u
        move = self.momentum * b + u if self.nesterov else b
        return -move if self.lr_in == "velocity" else -self.lr * move, new


def _adam_moments(rule: Any, grad: Any, state: State) -> tuple[Any, Any]:
    m = rule.b1 * state["m"] + (1 - rule.b1) * grad
    v = rule.b2 * state["v"] + (1 - rule.b2) * grad * grad
    return m, v


def adam_root(rule: Any, v_hat: Any, c2: Any, xp: Any) -> Any:
    """√v̂ + ε, or with ε on the raw moment √v̂ + ε / √c₂, c₂ = 1 − β₂ᵗ, which is Kingma & Ba's ε̂ of section 2."""
    return corrected_root(rule, v_hat, xp) + (rule.eps if rule.eps_on == CORRECTED else rule.eps / c2**0.5)


def corrected_root(rule: Any, v_hat: Any, xp: Any) -> Any:
    """√v̂, or √(v̂ + eps_root)."""
    return xp.sqrt(v_hat if rule.eps_root is None else v_hat + rule.eps_root)


_ADAM_SLOTS = {"m": ("exp_avg", "mu", "momentum"), "v": ("exp_avg_sq", "nu", "velocity")}
_KERAS = {"eps": 1e-7, "eps_on": RAW}


@rule
class Adam(Rule):
    """Adam (Kingma & Ba, 2015, Algorithm 1).

        m ← β₁ m + (1 − β₁) g        m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²       v̂ = v / (1 − β₂ᵗ)
        step = − lr · m̂ / (√v̂ + ε)

    `eps_on="raw v"` adds ε to √v before the correction, the paper's ε̂;
    `eps_root` is a further constant inside the root.
    """

    presets = {"torch": {}, "optax": {}, "keras": _KERAS}
    slots = _ADAM_SLOTS

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))
    eps_on: str = variant(CORRECTED, RAW)

    def init(self, param: Any, xp: Any) -> State:
        return {"m": xp.zeros_like(param), "v": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m, v = _adam_moments(self, grad, state)
        c1, c2 = 1 - self.b1**t, 1 - self.b2**t
        m_hat, v_hat = m / c1, v / c2
        return -self.lr * m_hat / adam_root(self, v_hat, c2, xp), {"m": m, "v": v}


@rule
class AMSGrad(Rule):
    """AMSGrad (Reddi, Kale & Kumar, 2018, Algorithm 2): Adam whose rate per coordinate never grows back.

        m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
        v_max ← max(v_max, v)        step = − lr · m̂ / (√v̂_max + ε)

    The paper has no hats (`moments="raw"`); practice corrects the bias as Adam does, after the maximum is taken
    (`max_of="raw v"`) or before. `eps_on` and `eps_root` are Adam's; without hats there is but one v to speak of.
    """

    presets = {"torch": {}, "optax": {"max_of": CORRECTED}, "keras": _KERAS}
    slots = {**_ADAM_SLOTS, "v_max": ("max_exp_avg_sq", "nu_max", "velocity_hat")}

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))
    eps_on: str = variant(CORRECTED, RAW)
    max_of: str = variant(RAW, CORRECTED)
    moments: str = variant("corrected", "raw")

    def init(self, param: Any, xp: Any) -> State:
        return {name: xp.zeros_like(param) for name in ("m", "v", "v_max")}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m, v = _adam_moments(self, grad, state)
        c1, c2 = (1 - self.b1**t, 1 - self.b2**t) if self.moments == "corrected" else (1, 1)
        v_max = xp.maximum(state["v_max"], v / c2 if self.max_of == CORRECTED else v)
        v_hat = v_max if self.max_of == CORRECTED else v_max / c2
        return -self.lr * (m / c1) / adam_root(self, v_hat, c2, xp), {"m": m, "v": v, "v_max": v_max}


@rule
class AdamW(Rule):
    """AdamW (Loshchilov & Hutter, 2019, Algorithm 2): Adam with decoupled weight decay λ.

    step = − lr · (m̂ / (√v̂ + ε) + λ θ)
    """

    presets = {"torch": {}, "optax": {"weight_decay": 1e-4}, "keras": {**_KERAS, "weight_decay": 4e-3}}
    slots = _ADAM_SLOTS

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    weight_decay: float = hyper(0.01, LogUniform(1e-5, 1.0))
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))
    eps_on: str = variant(CORRECTED, RAW)

    def init(self, param: Any, xp: Any) -> State:
        return {"m": xp.zeros_like(param), "v": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m, v = _adam_moments(self, grad, state)
        c1, c2 = 1 - self.b1**t, 1 - self.b2**t
        m_hat, v_hat = m / c1, v / c2
        return -self.lr * (m_hat / adam_root(self, v_hat, c2, xp) + self.weight_decay * param), {"m": m, "v": v}


@rule
class AdaMax(Rule):
    """AdaMax (Kingma & Ba, 2015, Algorithm 2): Adam with the infinity norm.

        m ← β₁ m + (1 − β₁) g        u ← max(β₂ u, |g| + ε)
        step = − lr · m̂ / u

    The paper has no ε; `eps_in` says whether it keeps u from zero in the maximum or in the denominator.
    """

    presets = {"torch": {}, "optax": {}, "keras": {"lr": 1e-3, "eps": 1e-7, "eps_in": "denominator"}}
    slots = {"m": ("exp_avg", "mu", "m"), "u": ("exp_inf", "nu", "u")}

    lr: float = hyper(2e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    eps_in: str = variant("maximum", "denominator")

    def init(self, param: Any, xp: Any) -> State:
        return {"m": xp.zeros_like(param), "u": xp.zeros_like(param)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m = self.b1 * state["m"] + (1 - self.b1) * grad
        size = xp.abs(grad) + self.eps if self.eps_in == "maximum" else xp.abs(grad)
        u = xp.maximum(self.b2 * state["u"], size)
        m_hat = m / (1 - self.b1**t)
        return -self.lr * m_hat / (u if self.eps_in == "maximum" else u + self.eps), {"m": m, "u": u}


def _nadam_mean(rule: Any, m: Any, grad: Any, state: State, t: Any) -> tuple[Any, State]:
    """Dozat's m̂: the next step's share of m and this step's share of g, each with its own correction."""
    if rule.psi is None:
        b1 = rule.b1
        return b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * grad / (1 - b1**t), {}
    mu, mu_next = (rule.b1 * (1 - 0.5 * 0.96 ** (k * rule.psi)) for k in (t, t + 1))
    product = state["mu_product"] * mu
    return mu_next * m / (1 - product * mu_next) + (1 - mu) * grad / (1 - product), {"mu_product": product}


def _nadam_init(rule: Any, param: Any, xp: Any) -> State:
    state = {"m": xp.zeros_like(param), "v": xp.zeros_like(param)}
    # A one of the parameter's dtype, on its device.
    return state if rule.psi is None else {**state, "mu_product": 1 + xp.sum(xp.zeros_like(param))}


@rule
class Nadam(Rule):
    """Nadam (Dozat, 2016, Algorithm 2): Adam with Nesterov's momentum.

        μₜ = β₁ (1 − ½ · 0.96^(ψ t))
        m̂ = μₜ₊₁ m / (1 − μ₁⋯μₜ₊₁) + (1 − μₜ) g / (1 − μ₁⋯μₜ)
        step = − lr · m̂ / (√v̂ + ε)

    With `psi=None` the momentum is constant, μₜ = β₁. m itself is gathered with β₁, as torch and Keras do. `eps_root`
    is a constant inside the root.
    """

    presets = {"torch": {}, "optax": {"lr": 1e-3, "psi": None}, "keras": {"lr": 1e-3, "psi": 1.0, "eps": 1e-7}}
    slots = {**_ADAM_SLOTS, "mu_product": ("mu_product", None, "u_product")}

    lr: float = hyper(2e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    psi: float | None = hyper(0.004, LogUniform(1e-4, 1.0), optional=True)
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))

    def init(self, param: Any, xp: Any) -> State:
        return _nadam_init(self, param, xp)

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m, v = _adam_moments(self, grad, state)
        m_hat, product = _nadam_mean(self, m, grad, state, t)
        v_hat = v / (1 - self.b2**t)
        return -self.lr * m_hat / (corrected_root(self, v_hat, xp) + self.eps), {"m": m, "v": v, **product}


@rule
class NAdamW(Rule):
    """NAdamW: Nadam (Dozat, 2016) with decoupled weight decay λ (Loshchilov & Hutter, 2019), as in AlgoPerf.

    step = − lr · (m̂ / (√v̂ + ε) + λ θ)        m̂ as in Nadam, by default with constant momentum
    """

    presets = {
        "torch": {"lr": 2e-3, "psi": 0.004},
        "optax": {"weight_decay": 1e-4},
        "keras": {"psi": 1.0, "eps": 1e-7, "weight_decay": 4e-3},
    }
    slots = Nadam.slots

    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))
    b1: float = hyper(0.9, OneMinusLogUniform(1e-3, 1.0))
    b2: float = hyper(0.999, OneMinusLogUniform(1e-4, 1.0))
    eps: float = hyper(1e-8, EPSILONS)
    weight_decay: float = hyper(0.01, LogUniform(1e-5, 1.0))
    psi: float | None = hyper(None, LogUniform(1e-4, 1.0))
    eps_root: float | None = hyper(None, LogUniform(1e-16, 1e-4))

    def init(self, param: Any, xp: Any) -> State:
        return _nadam_init(self, param, xp)

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        m, v = _adam_moments(self, grad, state)
        m_hat, product = _nadam_mean(self, m, grad, state, t)
        v_hat = v / (1 - self.b2**t)
        step = -self.lr * (m_hat / (corrected_root(self, v_hat, xp) + self.eps) + self.weight_decay * param)
        return step, {"m": m, "v": v, **product}
