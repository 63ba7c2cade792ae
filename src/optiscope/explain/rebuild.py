"""Rebuild a rule from its mechanisms: an ordinary rule, fitted to what the original does.

The verdict says where to begin. Then the original's steps are imitated: on the very gradients that it met on training
problems, and, round by round, on those that the rebuilt rule meets there in its place, for a small error leads to
states that the original never saw (Ross et al., 2011). The round whose rule stays nearest to the original's ways is
kept. No loss of a task is minimised, nor even looked at, and no problem is used that an evaluation draws.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..lab.drive import cast
from ..lab.engine import answers, shown
from ..rules.contract import Rule
from ..rules.mechanisms import Mechanisms
from ..tasks.contract import Task

if TYPE_CHECKING:
    from .explanation import Explanation

PROBLEMS, FIRST = 1024, 3 * 2**30
"""How many training problems, and the first of their seeds: evaluation, tuning and confirmation never draw these."""
WAY, HORIZON = 200, 60
"""Steps of the training runs, and the first of them that are imitated, in which the paper's tasks do nearly all."""
LANES = 500
"""Of how many coordinates, of all the problems'."""
BUDGET = 2**27
"""How many bytes a run of the problems may record: of a large task there are fewer."""
ROUNDS, KEPT = 5, 2
"""How often the rebuilt rule's own gradients are asked about, and how many of the last rounds are imitated at once."""
TRIES = 60
"""Steps of the first fit; each later one, which begins nearby, has half as many."""
TERMS = 3
PULL = 3e-3
"""How much a weight's distance from the first guess counts: it only keeps what nothing depends on where it is."""
MECHANISMS = {
    "momentum": ("betas",),
    "clipping": ("limit", "longest"),
    "schedule": ("times", "timed"),
    "adaptation": ("memories", "size", "sized"),
    "feedback": ("slope", "reach", "felt"),
}
"""The fields that say each mechanism. All but the last are the verdict's, which does not read what the momenta do to
each other."""
POSITIVE, SHARES = ("alphas", "limit", "longest", "size", "times", "slope", "reach"), ("betas", "memories")
"""The fields fitted by their logarithms, and by their logits."""

Heard = tuple[np.ndarray, np.ndarray]
"""Gradients, and the original's steps on them, each of shape (steps, lanes)."""


def rebuilt(
    found: Explanation, without: str | None = None, rounds: int = ROUNDS, start: Mechanisms | None = None
) -> Mechanisms:
    """The rule rebuilt from an explanation, as a rule of leaves that can be used, tuned, trained and saved.

    Args:
        without: a mechanism to leave out, one of `MECHANISMS`.
        rounds: how often the rebuilt rule's own gradients are imitated too.
        start: where to begin, such as the whole rule that a mechanism is left out of; by default at the first guess.
    """
    with jax.enable_x64(False):
        rule, task = cast(found.rule, "float32"), cast(found.task, "float32")
        grads, steps = _some(met(rule, task, FIRST))
        bound = 10 * np.abs(grads).max()
        heard = [(grads, steps)]
        guess = first_guess(found, grads, steps) if start is None else start
        fit = _Fit(guess.replace(**dict.fromkeys(MECHANISMS.get(without or "", ()))), _typical(steps))
        answer = jax.jit(functools.partial(answers, rule))
        fit.to(heard, TRIES if start is None else TRIES // 2)
        closest = np.inf, fit.u
        # What a rule that looks across an array would do on other gradients cannot be asked lane by lane.
        for k in range(rounds + 1 if rule.elementwise else 0):
            at = FIRST + (k + 1) * PROBLEMS
            ours, theirs = (met(each, task, at) for each in (fit.rule, rule))
            closest = min(closest, (_apart(ours, theirs), fit.u), key=lambda each: each[0])
            if k < rounds:
                own = np.nan_to_num(np.clip(_some(ours)[0], -bound, bound))
                heard = [heard[0], *heard[1:][1 - KEPT :], (own, np.asarray(answer(own)))]
                fit.to(heard, TRIES // 2)
        fit.u = closest[1]
        return jax.tree.map(lambda leaf: np.asarray(leaf) if leaf.ndim else float(leaf), fit.rule)


def _apart(ours: Heard, theirs: Heard) -> float:
    """How far apart two rules are on their ways over the same problems: in where they are, and in the slopes there."""

    def ways(heard: Heard) -> tuple[np.ndarray, np.ndarray]:
        return heard[0], np.cumsum(heard[1], 0)

    with np.errstate(over="ignore", invalid="ignore"):
        pairs = zip(ways(ours), ways(theirs), strict=True)
        apart = sum(float(np.mean((a - b) ** 2) / np.mean(b**2)) for a, b in pairs)
    return apart if np.isfinite(apart) else np.inf


def first_guess(found: Explanation, grads: np.ndarray, steps: np.ndarray) -> Mechanisms:
    """The verdict's momentum, with the scales of what was met; all else begins at nothing.

    Args:
        grads, steps: what the original met and did, of shape (steps, lanes).
    """
    terms = list(found.modes.terms) if found.modes is not None else []
    betas = [beta for beta, _ in terms if 0.3 < beta < 0.98][:TERMS]
    betas += [1 - 0.1 * 0.5**n for n in range(TERMS - len(betas))]
    largest, longest = (max(float(np.abs(x).max(initial=0)), 1e-30) for x in (grads, steps))
    early = np.abs(grads[: HORIZON // 3])
    size = float(np.median(early[early > 0])) if early.any() else 1.0
    limit = min(largest, found.clipping.limit) if found.clipping.present else largest
    limit = max(limit, size)
    plain = np.sqrt(np.mean(steps[0] ** 2) / np.mean((limit * np.tanh(grads[0] / limit)) ** 2))
    n = len(betas)
    return Mechanisms(
        alphas=np.full(n, max(plain / n, 1e-12)),
        betas=np.array(betas),
        limit=limit * 0.5 ** np.arange(n),
        longest=2 * longest,
        times=np.array([3.0, 20.0]),
        timed=np.zeros((3, n, 2)),
        memories=np.array([0.6, 0.95]),
        size=size,
        sized=np.zeros((3, n, 3)),
        slope=size,
        reach=np.full(n, 3 * size),
        felt=np.zeros((3, n, 2 * n)),
    )


def met(rule: Rule, task: Task, first: int) -> Heard:
    """The gradients that a rule meets on training problems, and its steps, of every coordinate."""
    start = jax.eval_shape(lambda: _problem(task, 0).start)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(start))
    steps = min(WAY, task.steps)
    count = max(1, min(PROBLEMS, BUDGET // (8 * numbers * steps)))
    seeds = np.arange(first, first + count).astype(np.uint32)
    made = _runs(rule, task, seeds, steps=steps)
    grads, moves = (np.concatenate([_laid(leaf) for leaf in jax.tree.leaves(tree)], 1) for tree in made)
    return grads, moves


def _some(heard: Heard) -> Heard:
    """The first `HORIZON` steps of at the most `LANES` lanes."""
    grads, steps = heard
    chosen = np.sort(np.random.default_rng(0).permutation(grads.shape[1])[:LANES])
    return grads[:HORIZON, chosen], steps[:HORIZON, chosen]


def _laid(leaf: Any) -> np.ndarray:
    """(problems, steps, …) as (steps, lanes)."""
    leaf = np.moveaxis(np.asarray(leaf), 1, 0)
    return leaf.reshape(len(leaf), -1)


def _problem(task: Task, seed: Any) -> Any:
    return task.sample(jax.random.fold_in(jax.random.key(seed), 0))


@functools.partial(jax.jit, static_argnames="steps")
def _runs(rule: Rule, task: Task, seeds: Any, *, steps: int) -> Any:
    return jax.vmap(functools.partial(_run, rule, task, steps))(seeds)


def _run(rule: Rule, task: Task, steps: int, seed: Any) -> Any:
    problem = _problem(task, seed)
    return shown(rule, problem, problem.batches.begin(jax.random.fold_in(jax.random.key(seed), 1)), steps)


def _typical(steps: np.ndarray) -> np.ndarray:
    """The mean squared step at each time, (steps, 1)."""
    square = np.mean(steps**2, 1, keepdims=True)
    return square + 1e-6 * square.max() + 1e-30


class _Fit:
    """A rule of mechanisms on its way to another's steps, by Levenberg's and Marquardt's method."""

    def __init__(self, guess: Mechanisms, typical: np.ndarray) -> None:
        """`typical` is the original's mean squared step at each time, of shape (steps, 1)."""
        self.typical = typical
        flat, self.back = ravel_pytree(_free(guess))
        self.u: Any = np.asarray(flat)
        self.first = self.u
        self.cost, self.slopes = jax.jit(self._cost), jax.jit(self._slopes)

    @property
    def rule(self) -> Mechanisms:
        return _rule(self.back(self.u))

    def to(self, heard: list[Heard], tries: int) -> None:
        """Fit the steps that were heard, from where the last fit ended."""
        grads, steps = (np.concatenate(x, 1) for x in zip(*heard, strict=True))
        # An error counts by the step that it spoils; at quieter times by the root of that, or only the first few steps
        # would be learned; and a lane that strays by what it does itself.
        weight = np.sqrt(np.sqrt(self.typical) / np.mean(np.sqrt(self.typical)) / (self.typical + 0.1 * steps**2))
        given = grads, steps, (weight / np.sqrt(steps.size)).astype(np.float32)
        least, damping = self.cost(self.u, *given), 0.1
        normal, slope = self.slopes(self.u, *given)
        for _ in range(tries):
            scaled = np.asarray(normal) + damping * np.diag(np.diag(normal))
            trial = (self.u - np.linalg.solve(scaled, slope)).astype(np.float32)
            cost = self.cost(trial, *given)
            if cost < least:
                self.u, least, damping = trial, cost, damping / 4
                normal, slope = self.slopes(self.u, *given)
            elif damping < 1e6:
                damping *= 4
            else:
                break

    def _errors(self, u: Any, grads: Any, steps: Any, weight: Any) -> Any:
        off = (answers(_rule(self.back(u)), grads) - steps) * weight
        return jnp.concatenate([off.ravel(), PULL * (u - self.first)])

    def _cost(self, u: Any, *given: Any) -> Any:
        return jnp.sum(self._errors(u, *given) ** 2)

    def _slopes(self, u: Any, *given: Any) -> tuple[Any, Any]:
        """JᵀJ and Jᵀe of the errors e."""
        errors, along = jax.linearize(lambda u: self._errors(u, *given), u)
        J = jax.vmap(along)(jnp.eye(len(u)))
        return J @ J.T, J @ errors


def _free(rule: Mechanisms) -> dict[str, Any]:
    """A rule's arrays by field, in coordinates in which every number has a meaning."""
    to: dict[str, Callable[[Any], Any]] = dict.fromkeys(POSITIVE, np.log) | dict.fromkeys(SHARES, _logit)
    given = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}
    return {n: jnp.asarray(to.get(n, np.asarray)(x), jnp.float32) for n, x in given.items() if x is not None}


def _rule(leaves: dict[str, Any]) -> Mechanisms:
    back: dict[str, Callable[[Any], Any]] = dict.fromkeys(POSITIVE, jnp.exp) | dict.fromkeys(SHARES, _logistic)
    return Mechanisms(**{n: back[n](x) if n in back else x for n, x in leaves.items()})


def _logit(x: Any) -> Any:
    return np.log(x) - np.log1p(-np.asarray(x))


def _logistic(u: Any) -> Any:
    return (1 + jnp.tanh(u / 2)) / 2
