"""The mechanisms of a rule, as its sliders move: what `explain` reads, in figures that the page draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import tasks
from ...explain.explanation import explain
from . import asks

TASKS = ("quadratic", "airfoil", "rosenbrock")
BINS = 60


def mechanisms(facts: asks.Facts) -> dict[str, Any]:
    """Take the rule of {rule: {rule, fields}, task} apart.

    Returns "says", a sentence a mechanism; "notes"; "eigenvalues", rows of (Re β, Im β, reach); "updates", the step
    against the gradient at some states; "met", the density of log₁₀ |g| of the gradients met; "schedule", the effective
    learning rate by step; "arms", constant gradients and the rates under them.

    Raises:
        BadInput: the request is malformed, or the rule has nothing to be read.
    """
    task = tasks.task(asks.choice(facts, "task", TASKS))
    found = explain(asks.rule(facts.get("rule")), task)
    modes = () if found.modes is None else found.modes.modes
    grads = found.visits.grads
    counts, edges = np.histogram(np.log10(np.abs(grads[np.isfinite(grads) & (grads != 0)])), BINS, density=True)
    return {
        "says": [{"mechanism": f.mechanism, "present": f.present, "words": f.words} for f in found.verdict.findings],
        "notes": list(found.notes),
        "eigenvalues": [
            [m.beta.real, sign * m.beta.imag, m.reach] for m in modes for sign in {1, -1 if m.oscillates else 1}
        ],
        "updates": [{"label": f.label, "grads": f.grads, "steps": f.steps} for f in found.clipping.functions],
        "met": {"at": (edges[1:] + edges[:-1]) / 2, "density": counts},
        "schedule": found.schedule.rates,
        "arms": {"grads": found.adaptation.grads, "rates": found.adaptation.rates},
    }
