"""Recipes: for a network and a family of tasks, the settings of training that worked, each with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import BadInput
from ..rules import Adam, ClipByValue, Cosine, Learned, Rule, Scheduled, learned
from ..tasks import task
from ..tasks.contract import Task
from .estimators import PES, Backprop, Estimator, FullES


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What `optiscope train` does for a network on a task unless it is told otherwise."""

    network: str
    family: str
    """What `--task` calls it."""
    tasks: Callable[[], Sequence[Task]]
    estimator: Estimator
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of the untrained rule."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of `train`."""

    def rule(self, seed: int, **settings: Any) -> Learned:
        """The rule before training."""
        return learned(self.network, **{"seed": seed, **self.settings, **settings})


def falling(lr: float, steps: int) -> Rule:
    """Adam whose rate falls to 0 along a cosine, on estimates clipped to ±0.05 in every entry."""
    return Scheduled(ClipByValue(Adam(), 0.05), lr=Cosine(lr, steps))


RECIPES = (
    # A quadratic's unroll is smooth enough to be differentiated whole. At twice this rate a training of seed 0 went
    # wrong within 200 outer steps and never came back.
    Recipe(
        "gru",
        "quadratic",
        lambda: [task("quadratic")],
        Backprop(64),
        {"units": 64},
        {"l2": 1e-6, "steps": 6000, "optimizer": falling(1.5e-3, 6000)},
    ),
    # Through a curved valley the exact meta-gradient is chaotic; a smoothed one of few weights is not. The logarithm
    # brings gradients of 10⁴ and of 1 to one scale. After 3000 outer steps of seed 0 the validation was 0.0536 with an
    # output scale of 1, 0.0248 with 0.1 and 0.0236 with 0.03.
    Recipe(
        "gru",
        "rosenbrock",
        lambda: [task("rosenbrock")],
        FullES(64, problems=4),
        {"units": 16, "inputs": "log1p", "lr": 0.03},
        {"clamp": 2.0, "steps": 12_000, "optimizer": falling(1e-2, 12_000)},
    ),
)


def recipe(network: str, family: str) -> Recipe:
    """The recipe for a network and a task; for any other pair, evolution strategies that bear with any task.

    Raises:
        BadInput: no network or no task has the name.
    """
    for each in RECIPES:
        if (each.network, each.family) == (network, family):
            return each
    learned(network)
    try:
        made = task(family)
    except BadInput as error:
        sets = [each.family for each in RECIPES if each.network == network]
        raise BadInput(f"{error}; {network} has recipes for {', '.join(sets) or 'none'}") from None
    recurrent = {} if network == "small-fc" else {"units": 16, "inputs": "log1p", "lr": 0.1}
    return Recipe(network, family, lambda: [made], PES(32), recurrent, {"clamp": 2.0})
