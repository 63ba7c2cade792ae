"""A run of each of several rules or solvers from one start, every point kept, for a picture of trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..solvers.walk import Method
from ..tasks.landscapes import Landscape
from .compare import Progress
from .contenders import Contender, RuleContender, SolverContender, contenders_of, learning_rates
from .run import Runs, run
from .solving import run_solver

MARGIN = 0.25
"""How far outside the landscape's box, in widths of it, a way may go and still be in the picture."""


def walks(
    rules: Sequence[str | Rule | Method],
    landscape: Landscape,
    *,
    start: Sequence[float] | None = None,
    steps: int | None = None,
    seed: int = 0,
    choose: bool = True,
    progress: Progress = lambda label, doing: None,
) -> list[tuple[Contender, Runs]]:
    """Run each rule once on a landscape, recording its parameters, in float64; a solver for as many gradients.

    A learning rate that the text leaves open is chosen from the grid that `compare` uses: the one that ends lowest
    among those whose way stays in the picture, for a landscape without a minimum rewards whoever leaves it fastest.

    Args:
        rules: as in `compare`.
        start: where from, n numbers; by default what the seed draws.
        steps, seed: as in `run`.
        choose: False leaves every learning rate at its default.
        progress: told what is being done.

    Raises:
        BadInput: an argument is invalid.
    """
    point = None if start is None else np.asarray(start, float)
    found: list[tuple[Contender, Runs]] = []
    for contender in contenders_of(rules, choose):
        progress(contender.label, "running")
        if isinstance(contender, SolverContender):
            solved = run_solver(
                contender.method, landscape, steps=steps, seeds=[seed], dtype="float64", path=True, start=point
            )
            found.append((contender, solved))
            continue
        if not isinstance(contender, RuleContender):
            raise BadInput(f"a way over a landscape is a rule's or a solver's; {contender.label} is neither")
        rates = learning_rates(contender.rule) if contender.chosen else [None]
        tried = [_walk(contender, lr, landscape, point, steps, seed) for lr in rates]
        found.append(min(tried, key=lambda pair: _badness(pair[1], landscape)))
    return found


def _walk(
    contender: RuleContender,
    lr: float | None,
    landscape: Landscape,
    start: np.ndarray | None,
    steps: int | None,
    seed: int,
) -> tuple[RuleContender, Runs]:
    if lr is not None:
        contender = dataclasses.replace(contender, rule=contender.rule.replace(lr=lr))
    kept = ("params",)
    return contender, run(
        contender.rule, landscape, steps=steps, seeds=[seed], dtype="float64", record=kept, start=start
    )


def _badness(runs: Runs, landscape: Landscape) -> tuple[bool, float]:
    margin = MARGIN * (landscape.high - landscape.low)
    points = runs.params[0]
    inside = np.all((points >= landscape.low - margin) & (points <= landscape.high + margin))
    return not inside, float(runs.final[0])
