"""The engine: a run as array code, a function of (rule, task, seed), and its batching over settings and seeds.

What a seed draws (the problem, its start, the batches) depends on no rule. It is drawn by programs of its own and
handed to the rule's: all rules then meet the very same numbers, and a rule's program has no random numbers to compile.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from ..rules.contract import Rule
from ..tasks.contract import Params, Problem, Task


class Lane(NamedTuple):
    """All that one run carries from step to step."""

    params: Params
    states: list[dict[str, Any]]
    total: Any
    """The sum of the losses that the steps so far have seen."""
    broke_at: Any
    """How many steps had been taken when the loss was first found not finite; −1 while it is."""


def begin(rule: Rule, start: Params) -> Lane:
    """The lane before the first step."""
    leaves = jax.tree.leaves(start)
    return Lane(start, [rule.init(p, jnp) for p in leaves], jnp.zeros((), leaves[0].dtype), jnp.int32(-1))


def update(rule: Rule, grads: Params, states: list[dict[str, Any]], params: Params, t: Any) -> tuple[Params, list]:
    """Step number `t` of a rule on a tree of parameters, and the state of each of its leaves then."""
    leaves, shape = jax.tree.flatten(params)
    moves = [rule.update(g, s, p, t, jnp) for g, s, p in zip(jax.tree.leaves(grads), states, leaves, strict=True)]
    return jax.tree.unflatten(shape, [step for step, _ in moves]), [state for _, state in moves]


def advance(rule: Rule, problem: Problem, lane: Lane, k: Any, batch: Any) -> tuple[Lane, dict[str, Any]]:
    """One step after `k` others, and the loss that it saw, the gradient, state and step there."""
    loss, grads = jax.value_and_grad(problem.loss)(lane.params, batch)
    steps, states = update(rule, grads, lane.states, lane.params, k + 1)
    params = jax.tree.map(jnp.add, lane.params, steps)
    lane = Lane(params, states, lane.total + loss, _broke_at(lane, loss, k))
    return lane, {"seen": loss, "grads": grads, "states": states, "steps": steps}


def shown(rule: Rule, problem: Problem, drawn: Any, steps: int) -> tuple[Params, Params]:
    """The gradients that a rule meets from the start on, and its steps: each leaf of shape (steps, …).

    `drawn` is what the sampler of batches remembers before the first.
    """

    def step(carry: tuple[Lane, Any], k: Any) -> tuple[tuple[Lane, Any], tuple[Params, Params]]:
        lane, drawn = carry
        batch, drawn = problem.batches.draw(drawn, k)
        lane, moment = advance(rule, problem, lane, k, batch)
        return (lane, drawn), (moment["grads"], moment["steps"])

    return jax.lax.scan(step, (begin(rule, problem.start), drawn), jnp.arange(steps, dtype=jnp.int32))[1]


def answers(rule: Rule, grads: Any) -> Any:
    """A rule's steps on given gradients, both of shape (steps, lanes), as if the parameters stayed at zero."""

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        g, k = x
        move, state = rule.update(g, state, jnp.zeros_like(g), k + 1, jnp)
        return state, move

    return jax.lax.scan(step, rule.init(jnp.zeros_like(grads[0]), jnp), (grads, jnp.arange(len(grads))))[1]


def segment(
    rule: Rule, problem: Problem, lane: Any, batches: Any, k0: Any, *, blocks: int, every: int, record: tuple
) -> tuple[Lane, dict[str, Any], Any]:
    """`blocks` blocks of `every` steps after `k0` others, with a record at the start of each, and one at the end.

    `lane` is where the last segment ended or, for the first one, the parameters to start from.
    """
    lane = lane if isinstance(lane, Lane) else begin(rule, lane)
    step = functools.partial(_step, rule, problem)

    def block(lane: Lane, drawn: tuple) -> tuple[Lane, dict[str, Any]]:
        made = {**_record(problem, lane.params, record), "params": lane.params}
        if every > 1 and not {"grads", "states", "steps"} & set(record):
            lane, _ = jax.lax.scan(lambda lane, x: (step(lane, x)[0], None), lane, drawn)
        else:
            lane, moment = step(lane, jax.tree.map(lambda x: x[0], drawn))
            made |= moment
            if every > 1:
                rest = jax.tree.map(lambda x: x[1:], drawn)
                lane, _ = jax.lax.scan(lambda lane, x: (step(lane, x)[0], None), lane, rest)
        return lane, {what: made[what] for what in ("loss", *record)}

    drawn = (k0 + jnp.arange(blocks * every, dtype=jnp.int32), batches)
    if blocks == 1:
        # A loop around the one block would cost XLA a copy of every lane.
        lane, made = block(lane, drawn)
        made = jax.tree.map(lambda x: x[None], made)
    else:
        lane, made = jax.lax.scan(block, lane, jax.tree.map(lambda x: x.reshape(blocks, every, *x.shape[1:]), drawn))
    final = _record(problem, lane.params, record)
    return lane._replace(broke_at=_broke_at(lane, final["loss"], k0 + blocks * every)), made, final


def _record(problem: Problem, params: Params, record: tuple) -> dict[str, Any]:
    if "metrics" not in record:
        return {"loss": problem.loss(params)}
    loss, metrics = problem.record(params)
    return {"loss": loss, "metrics": metrics}


def _step(rule: Rule, problem: Problem, lane: Lane, drawn: tuple) -> tuple[Lane, dict[str, Any]]:
    return advance(rule, problem, lane, *drawn)


def _broke_at(lane: Lane, loss: Any, k: Any) -> Any:
    return jnp.where((lane.broke_at < 0) & ~jnp.isfinite(loss), k, lane.broke_at)


def draw_problem(task: Task, seed: Any) -> Problem:
    """The problem that a seed draws."""
    return task.sample(jax.random.fold_in(jax.random.key(seed), 0))


def draw_starts(task: Task, seeds: Any) -> Any:
    """The start of each seed's problem, and the state its batches are drawn from."""

    def one(seed: Any) -> Any:
        problem = draw_problem(task, seed)
        return problem.start, problem.batches.begin(jax.random.fold_in(jax.random.key(seed), 1))

    return jax.vmap(one)(seeds)


def draw(task: Task, seeds: Any) -> tuple[list[Any], Any, Any]:
    """What each seed draws: of its problem the leaves that depend on it, None in the places of the others; its start;
    and the state its batches are drawn from."""
    varying = _varying(task)

    def one(seed: Any) -> list[Any]:
        leaves = jax.tree.leaves(draw_problem(task, seed))
        return [leaf if varies else None for leaf, varies in zip(leaves, varying, strict=True)]

    return jax.vmap(one)(seeds), *draw_starts(task, seeds)


def _varying(task: Task) -> list[bool]:
    """Which leaves of a problem depend on the seed: a data set that all seeds share is not copied for each."""
    program = jax.make_jaxpr(draw_problem)(task, jnp.uint32(0)).jaxpr
    known = {program.invars[-1]}
    for equation in program.eqns:
        if not known.isdisjoint(x for x in equation.invars if not isinstance(x, Literal)):
            known.update(equation.outvars)
    return [not isinstance(x, Literal) and x in known for x in program.outvars]


def _problem(task: Task, drawn: list[Any]) -> Problem:
    """The problem of which a seed drew these leaves."""
    shared, shape = jax.tree.flatten(draw_problem(task, 0))
    return jax.tree.unflatten(shape, [b if a is None else a for a, b in zip(drawn, shared, strict=True)])


def draw_batches(task: Task, seeds: Any, states: Any, k0: Any, *, count: int) -> Any:
    """The batches of `count` steps after `k0` others: leaves of shape (seeds, count, …)."""

    def one(seed: Any, state: Any) -> Any:
        sampler = draw_problem(task, seed).batches

        def draw(state: Any, k: Any) -> Any:
            batch, state = sampler.draw(state, k)
            return state, batch

        return jax.lax.scan(draw, state, k0 + jnp.arange(count, dtype=jnp.int32))

    return jax.vmap(one)(seeds, states)


def segments(
    index: Any,
    rules: Rule,
    task: Task,
    drawn: list[Any],
    lanes: Any,
    batches: Any,
    k0: Any,
    *,
    blocks: int,
    every: int,
    record: tuple,
) -> Any:
    """A segment for every setting and every seed: leaves of shape (settings, seeds, …).

    `index` numbers the settings, for the rules that have no numbers of their own.
    """

    def one(_: Any, rule: Rule, drawn: list[Any], lane: Any, batches: Any) -> Any:
        problem = _problem(task, drawn)
        return segment(rule, problem, lane, batches, k0, blocks=blocks, every=every, record=record)

    # Seeds inside settings: what depends on the seed alone is computed once for all settings.
    each = jax.vmap(one, in_axes=(None, None, 0, 0, 0))
    return jax.vmap(each, in_axes=(0, 0, None, 0 if isinstance(lanes, Lane) else None, None))(
        index, rules, drawn, lanes, batches
    )
