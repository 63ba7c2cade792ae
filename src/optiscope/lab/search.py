"""Search a rule's settings for a training function of the user's own: a trial at a time, each chosen from those before.

`tune` runs thousands of settings in one compiled program. Where a trial is a whole training, in whatever framework, a
few dozen have to do, and Optuna's sampler (TPE: Bergstra et al., 2011) proposes each from the results so far.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import BadInput
from ..rules.contract import Rule, parse
from ..rules.spaces import Space
from .meter import Progress
from .tune import CONFIRMATION_SEEDS, SEARCH_SEEDS, searched_space

LEADERS = 3
"""How many of the best are trained again on a fresh seed."""

Train = Callable[[Rule, int], float]
"""Trains with a rule, from a seed, and returns what is to be small; NaN or infinity for a training that failed."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found."""

    best: Rule
    """The winner on the fresh seed."""
    best_score: float
    """Its score there."""
    trials: list[dict[str, float]]
    """A row a trial, in the order of trying: its settings, its score, and its score on the fresh seed (else NaN)."""


def search(
    rule: str | Rule,
    train: Train,
    *,
    trials: int = 50,
    space: Mapping[str, Space] | None = None,
    seed: int = 0,
    progress: Progress = lambda label, doing, share: None,
) -> Search:
    """Find a rule's best settings for a training function.

    Args:
        rule: a rule, or a text such as "adam" or "adam:b1=0.8" whose given fields stay fixed.
        train: called with a rule and a seed; lower results are better.
        trials: how many settings to try. The best three are trained again on another seed, and the winner chosen there.
        space: what to search, by field; by default every field's declared space.
        seed: of the sampler.
        progress: told the rule, what is being done, and what share of it is done.

    Raises:
        BadInput: an argument is invalid, Optuna is missing, `train` returned no number, or every trial failed.
    """
    try:
        import optuna
    except ImportError:
        raise BadInput("searching needs Optuna: pip install 'optiscope[optuna]'") from None
    base, fixed = parse(rule) if isinstance(rule, str) else (rule, {})
    if not isinstance(base, Rule):
        raise BadInput(f"a rule is wanted, such as 'adam' or osc.Adam(), not {rule!r}")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise BadInput(f"trials must be a whole number ≥ 1, not {trials!r}")
    searched = searched_space(base, fixed, space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    rows: list[dict[str, float]] = []
    for k in range(trials):
        progress(base.name, "searching", k / (trials + LEADERS))
        # In quantiles every space is the unit interval, the logarithm and 1 − β included.
        asked = study.ask()
        values = {f: float(s.quantile(asked.suggest_float(f, 0.0, 1.0))) for f, s in searched.items()}
        score = _trained(train, base.replace(**values), SEARCH_SEEDS)
        # The sampler ranks; a training that failed is worse than any that did not.
        study.tell(asked, min(score, 1e300))
        rows.append({**values, "score": score, "confirmed": math.nan})

    leaders = sorted((row for row in rows if math.isfinite(row["score"])), key=lambda row: row["score"])[:LEADERS]
    for k, row in enumerate(leaders):
        progress(base.name, "confirming", (trials + k) / (trials + LEADERS))
        row["confirmed"] = _trained(train, _with(base, searched, row), CONFIRMATION_SEEDS)
    winner = min(leaders, key=lambda row: row["confirmed"], default=None)
    if winner is None or math.isinf(winner["confirmed"]):
        raise BadInput(f"no setting of {base.name} trained without failing; search smaller values, with space=")
    return Search(_with(base, searched, winner), winner["confirmed"], rows)


def _with(base: Rule, searched: Mapping[str, Space], row: Mapping[str, float]) -> Rule:
    return base.replace(**{field: row[field] for field in searched})


def _trained(train: Train, rule: Rule, seed: int) -> float:
    found: Any = train(rule, seed)
    try:
        score = float(found)
    except (TypeError, ValueError):
        raise BadInput(f"the training function must return one number, not {found!r}") from None
    return math.inf if math.isnan(score) else score
