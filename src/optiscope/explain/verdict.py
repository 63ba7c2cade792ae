"""The verdict: which mechanisms a rule has, in the words of hand-designed optimizers."""

from __future__ import annotations

import dataclasses

import numpy as np

from .adaptation import Adaptation
from .clipping import Clipping
from .modes import Modes
from .schedule import LearnedSchedule
from .symmetries import Symmetries

REMEMBERS = 0.05
"""A term that keeps less than this of itself from step to step is plain descent."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One mechanism: whether it is there, how much of it, and what says so."""

    mechanism: str
    present: bool
    words: str
    """As the verdict's sentence has it."""
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """Of some of the figures: between what bounds, as `evidence` explains."""
    evidence: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a rule is made of."""

    findings: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """In the words of hand-designed optimizers, the least one in the family's order."""
        return ", ".join(f.words for f in self.findings if f.words)

    @property
    def table(self) -> list[dict[str, object]]:
        """A row a mechanism, in plain values."""
        return [dataclasses.asdict(f) for f in self.findings]

    def __getitem__(self, mechanism: str) -> Finding:
        return next(f for f in self.findings if f.mechanism == mechanism)


def verdict(
    modes: Modes | None,
    slow: np.ndarray,
    clip: Clipping,
    plan: LearnedSchedule,
    curve: Adaptation,
    same: Symmetries,
    steps: int,
) -> Verdict:
    """Put the findings together.

    Args:
        slow: β of the farthest-reaching term, linearised at each of some visited states.
        steps: over how many steps the schedule was read.
    """
    findings = [_momentum(modes, slow, clip), _clipping(clip), _schedule(plan, steps), _adaptation(curve, clip)]
    if np.isfinite(same.shrinkage) and not same.translates:
        words = f"weight decay {same.shrinkage:.3g} a step"
        findings.append(Finding("weight decay", True, words, {"shrinkage": same.shrinkage}, {}, "− ∂step/∂θ"))
    return Verdict(tuple(findings))


def _momentum(modes: Modes | None, slow: np.ndarray, clip: Clipping) -> Finding:
    if modes is None:
        return Finding("momentum", False, "momentum not read", {}, {}, "no linear modes; the notes say why")
    terms = [(beta, alpha) for beta, alpha in modes.terms if beta > REMEMBERS and alpha != 0]
    plain = [alpha for beta, alpha in modes.terms if beta <= REMEMBERS]
    figures = {"alpha 0": plain[0]} if plain else {}
    for i, (beta, alpha) in enumerate(terms):
        figures |= {f"beta {i + 1}": beta, f"alpha {i + 1}": alpha}
    named = [f"{beta:.3g} with rate {alpha:.3g}" for beta, alpha in terms]
    words = f"momentum {_listed(named)}" if terms else f"no momentum, rate {clip.slope:.3g}"
    if terms and plain:
        words += f" beside a plain rate of {plain[0]:.3g}"
    bounds = {"beta 1": _middle(slow)} if terms and len(slow) else {}
    evidence = "linear modes at the fixed point"
    if modes.cancelling:
        evidence = f"terms that answer as {len(modes.modes)} modes do, which cancel one another"
    evidence += "; interval: the middle 95 % of the same at visited states"
    return Finding("momentum", bool(terms), words, figures, bounds, evidence)


def _clipping(clip: Clipping) -> Finding:
    words = {
        "hard": f"clipping at ±{clip.limit:.4g}",
        "soft": f"soft clipping at ±{clip.limit:.3g}",
        "sign": f"the sign alone, steps of {max(clip.levels):.3g}",
        "normalised": "no clipping",
        "none": "no clipping",
    }[clip.kind]
    figures = {"limit": clip.limit, "asymmetry": clip.asymmetry, "level": max(clip.levels), "beyond": clip.beyond}
    if clip.kind in ("none", "normalised"):
        figures = {"beyond": clip.beyond}
    evidence = "update function at the fixed point; beyond: the share of gradients met outside its linear range"
    return Finding("clipping", clip.present, words, figures, {"beyond": clip.interval}, evidence)


def _schedule(plan: LearnedSchedule, steps: int) -> Finding:
    words = plan.words if plan.present else "no schedule"
    figures = {"first": float(plan.rates[0]), "peak": plan.peak, "last": float(plan.rates[-1])}
    figures |= {"peak at": float(plan.peak_at), "fit error": plan.error}
    return Finding("schedule", plan.present, words, figures, {}, f"{steps} steps left alone: {plan.words}")


def _adaptation(curve: Adaptation, clip: Clipping) -> Finding:
    if not np.isfinite(curve.exponent):
        return Finding("adaptation", False, "adaptation not read", {}, {}, "no rates along the arms")
    # A step that is always as long has no rate to adapt; what a remembered sign outweighs only looks like one.
    present = curve.present and clip.kind != "sign"
    words = f"adaptation exponent {curve.exponent:.2g}" if present else "no adaptation"
    least, most = curve.extremes
    if present and most > abs(least) and not min(curve.interval) * max(curve.interval) > 0:
        words = f"adaptation of the rate between {least:.3g} and {most:.3g}"
    figures = {"exponent": curve.exponent, "from": curve.corner, "least rate": least, "most": most}
    evidence = f"{len(curve.grads)} fixed points under constant gradients; interval: over the arms and their halves"
    return Finding("adaptation", present, words, figures, {"exponent": curve.interval}, evidence)


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"
