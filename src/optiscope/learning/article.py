"""The paper's four tasks, and the scale at which each is contested (Maheswaranathan et al., 2021, section 3)."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import unknown
from ..lab.run import run
from ..lab.statistics import summary
from ..rules.contract import Rule
from ..tasks import task
from .contest import Contest, contest


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a task is affordable. None leaves a number as it is asked for."""

    trials: int | None = None
    """At most so many settings a baseline."""
    tuning_seeds: int = 128
    seeds: int | None = None
    """At most so many unseen seeds in a contest."""
    judged: int = 128
    """Unseen seeds for the figures on a rule's card."""
    every: int = 1
    """The loss is recorded once in so many steps."""
    halving: bool = False
    """Whether settings are dropped on the way, seed by seed."""


FAMILIES = {
    "quadratic": Scale(judged=1024),
    "rosenbrock": Scale(judged=1024),
    # A run costs a thousand times as much as one on two parameters.
    "two-moons": Scale(halving=True),
    "mnist-conv": Scale(trials=100, tuning_seeds=16, seeds=16, judged=16, every=20, halving=True),
}


def contested(family: str, rule: Rule, *, trials: int, seeds: int, **options: Any) -> Contest:
    """The contest of a learned rule on one of the paper's tasks at full size; `options` are `contest`'s.

    Raises:
        BadInput: the family is not one of the paper's; or as `contest`.
    """
    if family not in FAMILIES:
        raise unknown("task of the paper", family, FAMILIES, f"the four: {', '.join(FAMILIES)}")
    scale = FAMILIES[family]
    return contest(
        {f"{rule.name}-{family}": rule},
        task(family),
        trials=min(trials, scale.trials or trials),
        tuning_seeds=scale.tuning_seeds,
        seeds=min(seeds, scale.seeds or seeds),
        every=scale.every,
        halving=scale.halving,
        **options,
    )


def figures(family: str, rule: Rule) -> dict[str, Any]:
    """How a rule does on unseen problems of a task at full size, in plain numbers, for its card.

    Raises:
        BadInput: no task has the name; or as `run`.
    """
    scale, on = FAMILIES.get(family, Scale()), task(family)
    found = run(rule, on, seeds=scale.judged, every=scale.every)
    s = summary(found.relative_mean)
    return {
        "task": family,
        "steps": on.steps,
        "seeds": scale.judged,
        "mean_loss_over_first": s.mean,
        "standard_error": s.standard_error,
        "median": s.median,
        "diverged": int(found.diverged.sum()),
    }
