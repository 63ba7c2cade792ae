"""An optimizer as a list of its mechanisms: what an explanation rebuilds a rule from."""

from __future__ import annotations

from typing import Any

from .contract import Rule, State, rule


@rule
class Mechanisms(Rule):
    """Aggregated momentum with a soft clip, a schedule, and rates that adapt to the gradient's size.

        vᵢ ← ρᵢ vᵢ + (1 − ρᵢ) g²        z = (log(1 + v̂₁/σ²), …, log(1 + g²/σ²))        sizes, of long ago and of now
        u = c tanh(g / c)                                                                clipping
        mⱼ ← βⱼ(z) mⱼ + exp(ιⱼ·z) u     βⱼ(z) = logistic(logit βⱼ + ηⱼ·z)               momentum
        s(t) = exp(Σᵢ aᵢ exp(− (t − 1)/τᵢ))                                              schedule
        x = s(t) Σⱼ αⱼ exp(κⱼ·z) mⱼ                                                      adaptation in ι, η and κ
        step = − b tanh(x / b)                                                           clipping again

    The sum of momenta is Lucas et al.'s (2019); κ = −½ on v̂ is RMSProp's rate. A mechanism that is None is absent.
    """

    betas: Any
    """β, shape (terms,), in (0, 1)."""
    alphas: Any
    """α, shape (terms,)."""
    limit: Any = None
    """c, a number: the gradient that no larger one counts for more than."""
    longest: Any = None
    """b, a number: the step that none is longer than."""
    swells: Any = None
    """a, shape (n,): how far the rate begins above its end, as a logarithm."""
    times: Any = None
    """τ, shape (n,), in steps."""
    memories: Any = None
    """ρ, shape (sizes,), in (0, 1)."""
    size: Any = None
    """σ, the gradient that counts as large."""
    rate_powers: Any = None
    """κ, shape (terms, sizes + 1)."""
    memory_powers: Any = None
    """η, shape (terms, sizes + 1)."""
    intake_powers: Any = None
    """ι, shape (terms, sizes + 1)."""

    def init(self, param: Any, xp: Any) -> State:
        zero = xp.zeros_like(param)
        state = {"m": xp.stack([zero] * len(self.betas), -1)}
        return state if self.memories is None else {**state, "v": xp.stack([zero] * len(self.memories), -1)}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        new: State = {}
        z = []
        if self.memories is not None:
            v = [rho * state["v"][..., i] + (1 - rho) * grad * grad for i, rho in enumerate(self.memories)]
            new["v"] = xp.stack(v, -1)
            hats = [v_i / (1 - rho**t) for v_i, rho in zip(v, self.memories, strict=True)]
            z = [xp.log1p(x / self.size**2) for x in (*hats, grad * grad)]
        u = grad if self.limit is None else self.limit * xp.tanh(grad / self.limit)
        m, step = [], 0 * grad
        for j in range(len(self.betas)):
            beta, intake, rate = self.betas[j], 1.0, self.alphas[j]
            if z:
                logit = xp.log(beta / (1 - beta)) + _dot(self.memory_powers[j], z)
                beta = (1 + xp.tanh(logit / 2)) / 2
                intake, rate = xp.exp(_dot(self.intake_powers[j], z)), rate * xp.exp(_dot(self.rate_powers[j], z))
            m.append(beta * state["m"][..., j] + intake * u)
            step = step - rate * m[-1]
        new["m"] = xp.stack(m, -1)
        step = step * self._schedule(t, xp)
        return step if self.longest is None else self.longest * xp.tanh(step / self.longest), new

    def _schedule(self, t: Any, xp: Any) -> Any:
        if self.swells is None:
            return 1.0
        return xp.exp(sum(a * xp.exp(-(t - 1.0) / tau) for a, tau in zip(self.swells, self.times, strict=True)))


def _dot(weights: Any, z: list[Any]) -> Any:
    return sum(weights[i] * z[i] for i in range(len(z)))
