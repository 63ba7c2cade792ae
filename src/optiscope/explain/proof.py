"""An explanation is a claim; this is its test: how much of a rule's gain the rule rebuilt from it recovers.

The gain is the original's over the best tuned baseline. Each mechanism is then left out of the rebuilt rule, which is
fitted again without it: what that does to the score is what the mechanism is worth.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import BadInput, unknown
from ..lab.contenders import RuleContender, contender_of
from ..lab.describe import describe, digest
from ..lab.statistics import RESAMPLES
from ..lab.sweep import stack, sweep
from ..lab.tune import tune
from ..rules import files
from ..rules.contract import Rule
from ..rules.mechanisms import Mechanisms
from ..tasks.contract import Task
from . import rebuild
from .explanation import Explanation

REMOVABLE = tuple(rebuild.MECHANISMS)


@dataclasses.dataclass(frozen=True, eq=False)
class Proof:
    """The original, the tuned baselines, the rebuilt rule, and the rebuilt rule without each mechanism."""

    rules: Mapping[str, Rule]
    """By name: "original", each baseline's, "rebuilt", "without momentum" and so on."""
    scores: Mapping[str, np.ndarray]
    """The mean of the losses over the first one, of each seed: shape (seeds,). Infinite for a run that diverged."""
    baselines: tuple[str, ...]

    @property
    def best(self) -> str:
        """The baseline with the lowest mean score."""
        return min(self.baselines, key=lambda name: float(self.scores[name].mean()))

    @property
    def gains(self) -> bool:
        """Whether the original does better than the best baseline at all: otherwise there is no gain to share."""
        return bool(self.scores["original"].mean() < self.scores[self.best].mean())

    def share(self, name: str = "rebuilt") -> tuple[float, float, float]:
        """The share of the original's gain that a rule recovers, and its 95 % interval, bootstrapped over the seeds.

        Every resampling draws the same seeds for all rules, as they ran on the same problems.
        """

        def figure(rows: np.ndarray) -> np.ndarray:
            best, original, mine = (self._means(each, rows) for each in (self.best, "original", name))
            return (best - mine) / (best - original)

        return self._resampled(figure)

    def cost(self, name: str) -> tuple[float, float, float]:
        """By how much a mechanism's absence multiplies the rebuilt rule's score, and the 95 % interval, as `share`."""
        return self._resampled(lambda rows: self._means(name, rows) / self._means("rebuilt", rows))

    def _resampled(self, figure: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float, float]:
        n = len(self.scores["original"])
        draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            (found,), drawn = figure(np.arange(n)[None]), figure(draws)
        low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
        return float(found), float(low), float(high)

    def _means(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.scores[name][rows].mean(axis=1)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a rule: its score with the standard error, its share of the gain with an interval, and the cost, with
        its interval, where a mechanism is left out."""
        rows = []
        for name, scores in self.scores.items():
            share, low, high = self.share(name)
            error = float(scores.std(ddof=1) / len(scores) ** 0.5) if np.isfinite(scores).all() else np.inf
            rows.append(
                {"rule": name, "mean": float(scores.mean()), "standard_error": error, "share": share, "low": low,
                 "high": high, "diverged": int(np.isinf(scores).sum())}
            )  # fmt: skip
            if name.startswith("without "):
                rows[-1] |= dict(zip(("cost", "cost_low", "cost_high"), self.cost(name), strict=True))
        return rows

    @property
    def sentence(self) -> str:
        """What was recovered, and what each mechanism is worth."""
        if not self.gains:
            return f"the original is no better than {self.best} tuned, so there is no gain for a rebuilt rule to share"
        share, low, high = self.share()
        said = f"the rebuilt rule recovers {share:.0%} [{low:.0%}, {high:.0%}] of the gain over {self.best} tuned"
        costs = [
            f"{name.removeprefix('without ')} {self.cost(name)[0]:.2g}"
            for name in self.scores
            if name.startswith("without ")
        ]
        return said + (f"; leaving one out multiplies its score: {', '.join(costs)}" if costs else "")


def prove(
    found: Explanation,
    *,
    baselines: Sequence[str] | Mapping[str, Rule] = ("momentum", "rmsprop", "adam"),
    without: Sequence[str] = REMOVABLE,
    seeds: int = 128,
    trials: int = 500,
    rounds: int = rebuild.ROUNDS,
    keep: Path | None = None,
    progress: Callable[[str, str], None] = lambda label, doing: None,
) -> Proof:
    """Run a rule, the tuned baselines and the rule rebuilt from its explanation on the same unseen problems.

    Args:
        baselines: names of rules, each tuned for the mean of its losses, and once more with a clip and a schedule; or
            rules that are tuned already, by label.
        without: the mechanisms to leave out in turn, of "momentum", "clipping", "schedule", "adaptation", "feedback".
        seeds: how many problems; training, tuning and the fits use others.
        trials: settings tried of each baseline.
        rounds: of the fit that rebuilds a rule, after its first; one that leaves a mechanism out goes on from there.
        keep: a folder for the fitted rules; those that are there already are not fitted again.
        progress: told what is being done.

    Raises:
        BadInput: an argument is invalid.
    """
    if not isinstance(found, Explanation):
        raise BadInput(f"an explanation is wanted, such as osc.explain(rule, task), not {found!r}")
    for mechanism in without:
        if mechanism not in REMOVABLE:
            raise unknown("mechanism", mechanism, REMOVABLE, "osc.explain(...).verdict")
    rules: dict[str, Rule] = {"original": found.rule}
    if not isinstance(baselines, Mapping):
        baselines = _tuned(baselines, found.task, trials, seeds, progress)
    rules |= baselines
    progress("rebuilt", "fitting")
    fit = (lambda: found.rebuilt) if rounds == rebuild.ROUNDS else (lambda: rebuild.rebuilt(found, rounds=rounds))
    rules["rebuilt"] = whole = _kept(keep, found, None, rounds, fit)
    for mechanism in without:
        progress(f"without {mechanism}", "fitting")
        make = functools.partial(rebuild.rebuilt, found, mechanism, min(rounds, 1), whole)
        rules[f"without {mechanism}"] = _kept(keep, found, mechanism, rounds, make)
    scores = {n: sweep(stack([r]), found.task, seeds=seeds).relative_mean[0] for n, r in rules.items()}
    return Proof(rules, scores, tuple(baselines))


def _kept(
    folder: Path | None, found: Explanation, without: str | None, rounds: int, make: Callable[[], Mechanisms]
) -> Mechanisms:
    if folder is None:
        return make()
    # What other code fitted is not what this would.
    code = inspect.getsource(rebuild) + inspect.getsource(Mechanisms)
    path = folder / f"rebuilt-{digest(describe((found.rule, found.task, without, rounds, code)))[:16]}.safetensors"
    if not path.exists():
        files.write(make(), path)
    return cast(Mechanisms, files.read(path)[0])


def _tuned(
    names: Sequence[str], task: Task, trials: int, seeds: int, progress: Callable[[str, str], None]
) -> dict[str, Rule]:
    found = {}
    for contender in (contender_of(name, True) for name in names):
        assert isinstance(contender, RuleContender)
        for each in (contender, contender.annealed(task.steps)):
            progress(each.label, "tuning")
            found[each.label] = tune(
                each.rule, task, trials=trials, seeds=seeds, score="mean", space=each.free, extend=False
            ).best
    return found
