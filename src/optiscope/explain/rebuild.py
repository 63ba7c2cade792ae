"""Rebuild a rule from its mechanisms: an ordinary rule, fitted to what the original does.

The verdict says where to begin. Then the original's behaviour on training problems is imitated twice: first its steps,
on the very gradients that it met; then its trajectories, the rebuilt rule meeting gradients of its own making. No loss
is minimised but the distance to what the original does, and no problem is used that an evaluation draws.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..lab.drive import cast
from ..lab.engine import advance, begin
from ..rules.adaptive import Adam
from ..rules.contract import Rule
from ..rules.mechanisms import Mechanisms
from ..rules.schedules import Cosine
from ..rules.wrappers import ClipByValue, Scheduled
from ..tasks.batches import Everything
from ..tasks.contract import Task
from .explanation import Explanation

PROBLEMS, FIRST = 128, 3 * 2**30
"""How many training problems, and the first of their seeds: evaluation, tuning and confirmation never draw these."""
BUDGET = 2**28
"""How many bytes what is done on them may take: of a large task there are fewer."""
TOGETHER = 32
"""Problems a step of the fit sees."""
STEPS = 500
"""Steps of either fit."""
RATE = 0.02
SIZES = 2
TERMS = 3
MECHANISMS = {
    "clipping": ("limit", "longest"),
    "schedule": ("swells", "times"),
    "adaptation": ("memories", "size", "rate_powers", "memory_powers", "intake_powers"),
}
"""The fields that say each mechanism beside momentum."""
POSITIVE, SHARES = ("limit", "longest", "size", "times"), ("betas", "memories")
"""The fields fitted by their logarithms, and by their logits."""


Leaves = dict[str, Any]
"""A rule's arrays by field, in coordinates in which every number has a meaning."""


@dataclasses.dataclass(frozen=True, eq=False)
class Behaviour:
    """What a rule does on training problems: leaves of shape (problems, steps, …)."""

    params: Any
    """With the start, (problems, steps + 1, …)."""
    grads: Any
    steps: Any
    losses: Any
    """Before each step, (problems, steps)."""


def rebuilt(found: Explanation, without: str | None = None, steps: int = STEPS) -> Mechanisms:
    """The rule rebuilt from an explanation, as a rule of leaves that can be used, tuned, trained and saved.

    Args:
        without: a mechanism to leave out: "momentum", "clipping", "schedule" or "adaptation".
        steps: of each of the two fits.
    """
    with jax.enable_x64(False):
        seen = behaviour(found.rule, found.task)
        leaves = _free(first_guess(found, without))
        held = without == "momentum"
        count = len(seen.losses)
        leaves = _fitted(functools.partial(_imitated, seen=seen, held=held), leaves, steps, count)
        if isinstance(_problem(found.task, 0).batches, Everything):
            leaves = _fitted(
                functools.partial(_followed, seen=seen, task=found.task, floor=found.task.optimum or 0.0, held=held),
                leaves,
                steps,
                count,
            )
        made = _rule(leaves, held)
    return jax.tree.map(lambda leaf: np.asarray(leaf) if leaf.ndim else float(leaf), made)


def first_guess(found: Explanation, without: str | None = None) -> Mechanisms:
    """The verdict as a rule, before anything is fitted: a term for each that was read, and further ones of no rate."""
    terms = list(found.modes.terms) if found.modes is not None else [(0.5, found.clipping.slope / 2)]
    main = max(terms, key=_reach)
    while len(terms) < TERMS:  # further terms, faster and slower, begin at nothing
        terms.append((1 - (1 - main[0]) * 3.0 ** (len(terms) - 1.5), 0.0))
    terms = sorted(terms, key=_reach, reverse=True)[:TERMS]
    if without == "momentum":
        terms = [(0.0, sum(map(_reach, terms)) / 4)]
    n = len(terms)
    limit = found.clipping.limit if found.clipping.present else 10 * found.visits.quantiles(0.999)[0]
    swells, end = _swells(found.schedule.rates, found.reference)
    power = found.adaptation.exponent / 2 if found.adaptation.present else 0.0
    made = Mechanisms(
        betas=np.clip([beta for beta, _ in terms], 1e-3, 0.999),
        alphas=np.array([alpha for _, alpha in terms]) * end / 2**power,  # at the typical size z is log 2
        limit=float(max(limit, 1e-3 * found.visits.size)),
        longest=2 * max(float(np.abs(found.adaptation.steps).max(initial=0)), found.clipping.slope * found.visits.size),
        swells=swells,
        times=_times(len(found.schedule.rates)),
        memories=np.array([0.6, 0.95])[:SIZES],
        size=found.visits.size,
        rate_powers=np.tile([*[0.0] * (SIZES - 1), power, 0.0], (n, 1)),
        memory_powers=np.zeros((n, SIZES + 1)),
        intake_powers=np.zeros((n, SIZES + 1)),
    )
    return made.replace(**dict.fromkeys(MECHANISMS.get(without or "", ())))


def _reach(term: tuple[float, float]) -> float:
    beta, alpha = term
    return abs(alpha) / max(1 - beta, 1e-6)


def _swells(rates: np.ndarray, reference: int) -> tuple[np.ndarray, float]:
    """The swells that say a schedule best, and the rate at its end over that at the reference step."""
    if not (rates > 0).all():
        return np.zeros(2), 1.0
    k = np.arange(len(rates))[:, None]
    basis = np.concatenate([np.exp(-k / _times(len(rates))), np.ones_like(k)], axis=1)
    # What is below a hundredth of the peak moves nothing, and its logarithm would outweigh all the rest.
    seen = np.maximum(rates, 0.01 * rates.max())
    *swells, end = np.linalg.lstsq(basis, np.log(seen / rates[reference - 1]), rcond=None)[0]
    return np.array(swells), float(np.exp(end))


def _times(steps: int) -> np.ndarray:
    return np.array([steps / 40, steps / 4])


def behaviour(rule: Rule, task: Task) -> Behaviour:
    """What `rule` does on the training problems, in float32."""
    made = jax.jit(jax.vmap(functools.partial(_run, cast(rule, "float32"), cast(task, "float32"))))(_seeds(task))
    return Behaviour(*jax.tree.map(np.asarray, made))


def _seeds(task: Task) -> np.ndarray:
    start = jax.eval_shape(lambda: _problem(task, 0).start)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(start))
    count = max(1, min(PROBLEMS, BUDGET // (12 * numbers * task.steps)))
    return np.arange(FIRST, FIRST + count).astype(np.uint32)


def _problem(task: Task, seed: Any) -> Any:
    return task.sample(jax.random.fold_in(jax.random.key(seed), 0))


def _run(rule: Rule, task: Task, seed: Any) -> tuple[Any, ...]:
    problem = _problem(task, seed)
    drawn = problem.batches.begin(jax.random.fold_in(jax.random.key(seed), 1))

    def step(carry: tuple[Any, Any], k: Any) -> tuple[Any, Any]:
        lane, drawn = carry
        batch, drawn = problem.batches.draw(drawn, k)
        new, moment = advance(rule, problem, lane, k, batch)
        return (new, drawn), (lane.params, moment["grads"], moment["steps"], problem.loss(lane.params))

    (lane, _), (params, grads, steps, losses) = jax.lax.scan(
        step, (begin(rule, problem.start), drawn), jnp.arange(task.steps)
    )
    params = jax.tree.map(lambda way, end: jnp.concatenate([way, end[None]]), params, lane.params)
    return params, grads, steps, losses


def _fitted(loss: Callable[..., Any], leaves: Leaves, steps: int, count: int) -> Leaves:
    """Adam on a fit's loss, on `TOGETHER` of `count` problems a step; a gradient that is not finite counts as none."""
    outer = Scheduled(ClipByValue(Adam(), 0.1), lr=Cosine(RATE, steps))

    @jax.jit
    def take(leaves: Leaves, states: Any, k: Any, which: Any) -> tuple[Leaves, Any]:
        value, gradient = jax.value_and_grad(loss)(leaves, which)
        sound = jnp.isfinite(value) & jnp.stack([jnp.isfinite(g).all() for g in gradient.values()]).all()
        moves = {n: outer.update(jnp.where(sound, g, 0), states[n], leaves[n], k + 1, jnp) for n, g in gradient.items()}
        return {n: leaves[n] + move for n, (move, _) in moves.items()}, {n: state for n, (_, state) in moves.items()}

    draw, first = np.random.default_rng(0), leaves
    states = {n: outer.init(leaf, jnp) for n, leaf in leaves.items()}
    for k in range(steps):
        leaves, states = take(leaves, states, np.int32(k), draw.choice(count, min(TOGETHER, count), replace=False))
    # The guess may be the rule itself, which no step improves.
    return min((first, leaves), key=lambda each: _order(loss(each, np.arange(count))))


def _order(value: Any) -> float:
    return float(value) if np.isfinite(value) else np.inf


def _imitated(leaves: Leaves, which: Any, seen: Behaviour, held: bool) -> Any:
    """How far the steps on the original's own gradients are from its steps, as a share of their size at that time."""
    rule = _rule(leaves, held)
    grads, wanted = (jax.tree.map(lambda x: jnp.asarray(x)[which], tree) for tree in (seen.grads, seen.steps))

    def along(grads: Any) -> Any:  # of one array of parameters, (problems, steps, …)
        def step(state: Any, x: Any) -> tuple[Any, Any]:
            g, k = x
            move, state = rule.update(g, state, jnp.zeros_like(g), k + 1, jnp)
            return state, move

        sequence = jnp.moveaxis(grads, 1, 0)
        state = rule.init(jnp.zeros_like(sequence[0]), jnp)
        return jnp.moveaxis(jax.lax.scan(step, state, (sequence, jnp.arange(len(sequence))))[1], 0, 1)

    return _mean(
        [
            _share(along(g), s, (0, *range(2, s.ndim)))
            for g, s in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True)
        ]
    )


def _followed(leaves: Leaves, which: Any, seen: Behaviour, task: Task, floor: float, held: bool) -> Any:
    """How far the rule's own trajectories are from the original's: in the parameters, and in the root of the loss."""
    run = jax.vmap(functools.partial(_run, _rule(leaves, held), cast(task, "float32")))
    params, _, _, losses = run(jnp.asarray(_seeds(task))[which])
    wanted, told = (jax.tree.map(lambda x: jnp.asarray(x)[which], tree) for tree in (seen.params, seen.losses))
    roots = [jnp.sqrt(jnp.maximum(x - floor, 0) + 1e-6 * (told[:, :1] - floor)) for x in (losses, told)]
    ways = [_distance(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True)]
    return _mean(ways) + jnp.mean((roots[0] - roots[1]) ** 2 / roots[1][:, :1] ** 2)


def _share(got: Any, wanted: Any, axes: tuple[int, ...]) -> Any:
    size = jnp.mean(wanted**2, axes, keepdims=True)
    return jnp.mean((got - wanted) ** 2 / (size + 1e-12 + 1e-4 * size.max()))


def _distance(got: Any, wanted: Any) -> Any:
    """Mean squared distance, as a share of how far the original went; bounded, that one stray run count as one."""
    axes = tuple(range(2, wanted.ndim))
    went = jnp.mean((wanted - wanted[:, :1]) ** 2, axes).max(1, keepdims=True)
    far = jnp.mean((got - wanted) ** 2, axes) / (went + 1e-12)
    return jnp.mean(far / (1 + far))


def _mean(values: list[Any]) -> Any:
    return sum(values) / len(values)


def _free(rule: Mechanisms) -> Leaves:
    to: dict[str, Callable[[Any], Any]] = dict.fromkeys(POSITIVE, np.log) | dict.fromkeys(SHARES, _logit)
    given = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}
    return {n: jnp.asarray(to.get(n, np.asarray)(x), jnp.float32) for n, x in given.items() if x is not None}


def _rule(leaves: Leaves, held: bool) -> Mechanisms:
    """The rule of some leaves. `held` keeps what it remembers at nothing: momentum taken away."""
    back: dict[str, Callable[[Any], Any]] = dict.fromkeys(POSITIVE, jnp.exp) | dict.fromkeys(SHARES, _logistic)
    made: dict[str, Any] = {n: back[n](x) if n in back else x for n, x in leaves.items()}
    if held:
        made["betas"] = jnp.full_like(made["betas"], 1e-6)
        if "memory_powers" in made:
            made["memory_powers"] = jnp.zeros_like(made["memory_powers"])
    return Mechanisms(**made)


def _logit(x: Any) -> Any:
    return np.log(x) - np.log1p(-x)


def _logistic(u: Any) -> Any:
    return (1 + jnp.tanh(u / 2)) / 2
