"""An optimizer as a list of its mechanisms: what an explanation rebuilds a rule from."""

from __future__ import annotations

from typing import Any

from .contract import Rule, State, rule


@rule
class Mechanisms(Rule):
    """Aggregated momentum whose rates, memories and intakes heed the time, the gradient's size and the last step.

        u = c tanh(g / c)                                                      clipping
        mⱼ ← βⱼ mⱼ + ιⱼ u        x ← − b tanh(Σⱼ αⱼ κⱼ mⱼ / b)                 momentum; clipping again
        κ, ι = exp(K z), exp(I z)        β = logistic(logit β + H z)           z is made of:
        exp(− (t − 1) / τᵢ)                                                    schedule
        log(1 + v̂ᵢ / σ²), log(1 + g² / σ²)     vᵢ ← ρᵢ vᵢ + (1 − ρᵢ) g²        adaptation: sizes of long ago and of now
        − tanh(g / γ) tanh(x / d), log(1 + x² / d²)                            feedback: of the last step x

    The sum of momenta is Lucas et al.'s (2019), K = −½ on a v̂ is RMSProp's rate, and a momentum that the first of the
    feedbacks feeds is one that restarts where the gradient opposes the step (O'Donoghue & Candès, 2015). A mechanism
    whose fields are None is absent. K, I and H lie one behind the other, in the order K, H, I.
    """

    alphas: Any
    """α, shape (terms,)."""
    betas: Any = None
    """β, shape (terms,), in (0, 1). None remembers nothing."""
    limit: Any = None
    """c, a number: the gradient that no larger one counts for more than."""
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
    stride: Any = None
    """d, the step that counts as long."""
    felt: Any = None
    """K, H and I of the feedbacks, shape (3, terms, 2)."""

    def init(self, param: Any, xp: Any) -> State:
        zero = xp.zeros_like(param)
        state = {} if self.betas is None else {"m": xp.stack([zero] * len(self.alphas), -1)}
        if self.memories is not None:
            state["v"] = xp.stack([zero] * len(self.memories), -1)
        return state if self.felt is None else {**state, "x": zero}

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
            last = state["x"] / self.stride
            seen += [(-xp.tanh(grad / self.slope) * xp.tanh(last), self.felt[..., 0])]
            seen += [(xp.log1p(last * last), self.felt[..., 1])]
        u = grad if self.limit is None else self.limit * xp.tanh(grad / self.limit)
        m, step = [], 0 * grad
        for j in range(len(self.alphas)):
            rate, memory, intake = (sum(weights[row, j] * z for z, weights in seen) + 0 * grad for row in range(3))
            m.append(xp.exp(intake) * u)
            if self.betas is not None:
                logit = xp.log(self.betas[j] / (1 - self.betas[j])) + memory
                m[j] = (1 + xp.tanh(logit / 2)) / 2 * state["m"][..., j] + m[j]
            step = step - self.alphas[j] * xp.exp(rate) * m[j]
        if self.betas is not None:
            new["m"] = xp.stack(m, -1)
        step = step if self.longest is None else self.longest * xp.tanh(step / self.longest)
        return step, new if self.felt is None else {**new, "x": step}
