"""An optimizer as a list of its mechanisms: what an explanation rebuilds a rule from."""

from __future__ import annotations

from typing import Any

from .contract import Rule, State, rule


@rule
class Mechanisms(Rule):
    """Aggregated momentum whose rates, memories and intakes heed the time, the gradient's size and the momenta.

        uⱼ = cⱼ tanh(g / cⱼ)                                                   clipping
        mⱼ ← βⱼ mⱼ + ιⱼ uⱼ       x ← − b tanh(Σⱼ αⱼ κⱼ mⱼ / b)                 momentum; clipping again
        κ, ι = exp(K z), exp(I z)        β = logistic(logit β + H z)           z is made of:
        exp(− (t − 1) / τᵢ)                                                    schedule
        log(1 + v̂ᵢ / σ²), log(1 + g² / σ²)     vᵢ ← ρᵢ vᵢ + (1 − ρᵢ) g²        adaptation: sizes of long ago and of now
        tanh(g / γ) tanh(mᵢ / μᵢ), tanh²(mᵢ / μᵢ)                               feedback: of every momentum, as it was

    The sum of momenta is Lucas et al.'s (2019), K = −½ on a v̂ is RMSProp's rate, and a memory that the first kind of
    feedback feeds is one that restarts where the gradient opposes the momentum (O'Donoghue & Candès, 2015). A mechanism
    whose fields are None is absent. K, I and H lie one behind the other, in the order K, H, I.
    """

    alphas: Any
    """α, shape (terms,)."""
    betas: Any = None
    """β, shape (terms,), in (0, 1). None remembers nothing."""
    limit: Any = None
    """c, shape (terms,): the gradient that no larger one counts for more than."""
    longest: Any = None
    """b, a number: the step that none is longer than."""
    times: Any = None
    """τ, shape (n,), in steps."""
    timed: Any = None
    """K, H and I of the clocks, shape (3, terms, n)."""
    memories: Any = None
    """ρ, shape (n,), in (0, 1)."""
    size: Any = None
    """σ, the gradient that counts as large."""
    sized: Any = None
    """K, H and I of the sizes, shape (3, terms, n + 1)."""
    slope: Any = None
    """γ, the gradient whose sign counts."""
    reach: Any = None
    """μ, shape (terms,): the momentum that counts as large."""
    felt: Any = None
    """K, H and I of the feedbacks, shape (3, terms, 2 terms): for each momentum the two."""

    def init(self, param: Any, xp: Any) -> State:
        zero = xp.zeros_like(param)
        kept = {"m": self.alphas if self._remembers else None, "v": self.memories}
        return {name: xp.stack([zero] * len(of), -1) for name, of in kept.items() if of is not None}

    @property
    def _remembers(self) -> bool:
        return self.betas is not None or self.felt is not None

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        new: State = {}
        seen = []  # what is heeded, and with which weights
        if self.timed is not None:
            seen += [(xp.exp(-(t - 1.0) / tau), self.timed[..., i]) for i, tau in enumerate(self.times)]
        if self.sized is not None:
            v = [rho * state["v"][..., i] + (1 - rho) * grad * grad for i, rho in enumerate(self.memories)]
            new["v"] = xp.stack(v, -1)
            sizes = [v_i / (1 - rho**t) for v_i, rho in zip(v, self.memories, strict=True)] + [grad * grad]
            seen += [(xp.log1p(x / self.size**2), self.sized[..., i]) for i, x in enumerate(sizes)]
        if self.felt is not None:
            way = xp.tanh(grad / self.slope)
            for i, mu in enumerate(self.reach):
                y = state["m"][..., i] / mu
                full = xp.tanh(y)
                seen += [(way * full, self.felt[..., 2 * i]), (full * full, self.felt[..., 2 * i + 1])]
        m, step = [], 0 * grad
        for j in range(len(self.alphas)):
            rate, memory, intake = (sum(weights[row, j] * z for z, weights in seen) + 0 * grad for row in range(3))
            u = grad if self.limit is None else self.limit[j] * xp.tanh(grad / self.limit[j])
            m.append(xp.exp(intake) * u)
            if self.betas is not None:
                logit = xp.log(self.betas[j] / (1 - self.betas[j])) + memory
                m[j] = (1 + xp.tanh(logit / 2)) / 2 * state["m"][..., j] + m[j]
            step = step - self.alphas[j] * xp.exp(rate) * m[j]
        if self._remembers:
            new["m"] = xp.stack(m, -1)
        return step if self.longest is None else self.longest * xp.tanh(step / self.longest), new
