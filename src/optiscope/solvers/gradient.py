"""First directions: steepest descent and nonlinear conjugate gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..errors import unknown
from .descent import LineSearchMethod, Move
from .linesearch import Search, StrongWolfe


@dataclasses.dataclass(frozen=True)
class GD(LineSearchMethod):
    """Steepest descent, p = −g (Cauchy, 1847)."""

    unit_steps = False

    def forget(self, x: Any) -> Any:
        return ()

    def learn(self, memory: Any, move: Move, plain: Any) -> Any:
        return ()

    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        return -g


@dataclasses.dataclass(frozen=True)
class CG(LineSearchMethod):
    """Nonlinear conjugate gradients: p = −g + β p₋, with y = g − g₋ (survey: Hager & Zhang, 2006, Pacific J. Optim. 2).

        fr   β = gᵀg / g₋ᵀg₋                          Fletcher & Reeves, 1964
        pr+  β = max(gᵀy / g₋ᵀg₋, 0)                  Polak & Ribière, 1969; Gilbert & Nocedal, 1992
        hs   β = gᵀy / p₋ᵀy                           Hestenes & Stiefel, 1952
        dy   β = gᵀg / p₋ᵀy                           Dai & Yuan, 1999
        hz   β = (y − 2 p₋ ‖y‖² / p₋ᵀy)ᵀ g / p₋ᵀy     Hager & Zhang, 2005, but at least −1 / (‖p₋‖ min(0.01, ‖g₋‖))

    All but hz want a search more exact than a quasi-Newton method does, c₂ < ½ (Nocedal & Wright, 2006, lemma 5.6).
    """

    beta: str = "hz"
    search: Search = dataclasses.field(default=StrongWolfe(c2=0.1), kw_only=True)
    unit_steps = False

    def __post_init__(self) -> None:
        if self.beta not in _BETAS:
            raise unknown("beta of CG", self.beta, _BETAS, "optiscope.solvers.CG")

    def forget(self, x: Any) -> Any:
        """(β, p₋)"""
        return jnp.zeros((), x.dtype), jnp.zeros_like(x)

    def learn(self, memory: Any, move: Move, plain: Any) -> Any:
        return _BETAS[self.beta](move), move.p

    def direction(self, memory: Any, g: Any, free: Any) -> Any:
        beta, p = memory
        return -g + beta * p


def _fr(m: Move) -> Any:
    before = m.g - m.y
    return jnp.vdot(m.g, m.g) / jnp.vdot(before, before)


def _pr_plus(m: Move) -> Any:
    before = m.g - m.y
    return jnp.maximum(jnp.vdot(m.g, m.y) / jnp.vdot(before, before), 0)


def _hs(m: Move) -> Any:
    return jnp.vdot(m.g, m.y) / jnp.vdot(m.p, m.y)


def _dy(m: Move) -> Any:
    return jnp.vdot(m.g, m.g) / jnp.vdot(m.p, m.y)


def _hz(m: Move) -> Any:
    py = jnp.vdot(m.p, m.y)
    beta = jnp.vdot(m.y - 2 * m.p * jnp.vdot(m.y, m.y) / py, m.g) / py
    least = -1 / (jnp.linalg.norm(m.p) * jnp.minimum(0.01, jnp.linalg.norm(m.g - m.y)))
    return jnp.maximum(beta, least)


_BETAS = {"fr": _fr, "pr+": _pr_plus, "hs": _hs, "dy": _dy, "hz": _hz}
