"""How fast meta-training is, and how fast what it trains steps.

A training's figures are the medians over `OUTER` outer steps, compiling apart. The share of the inner task is what the
same outer step takes with plain gradient descent in the rule's place, over what it takes. A step of a trained rule is
timed on a million parameters in PyTorch and in JAX, in turn with Adam's in the same process.
"""

import itertools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import optiscope as osc
from optiscope.frameworks.optax import transform
from optiscope.frameworks.torch import Optimizer
from optiscope.learning import PES, Backprop

OUTER, ROUNDS, PARAMETERS, UNROLL = 9, 15, 1_000_000, 200
TRAININGS = {
    "gru-64, quadratic": (osc.GRU.untrained(units=64, inputs="raw"), "quadratic", Backprop(64), 64 * UNROLL),
    "gru-256, quadratic": (osc.GRU.untrained(units=256, inputs="raw"), "quadratic", Backprop(64), 64 * UNROLL),
    "small-fc, digits": (osc.SmallFC.untrained(), "digits", PES(8, truncation=20), 2 * 8 * 20),
}
"""A rule, a task, an estimator, and how many steps of the rule an outer step takes."""
STEPS = {"adam": osc.Adam(), "gru-16": osc.GRU.untrained(units=16), "gru-64": osc.GRU.untrained(units=64)}


def measure(seed=0):
    trainings = []
    for name, (rule, task, estimator, inner) in TRAININGS.items():
        took, bare = (_outer_seconds(each, task, estimator, seed) for each in (rule, osc.GradientDescent(lr=1e-3)))
        row = {"training": name, "outer_per_second": 1 / took, "inner_per_second": inner / took, "task": bare / took}
        trainings.append(row)
    return {"trainings": trainings, "steps": _step_milliseconds(seed), "threads": torch.get_num_threads()}


def _outer_seconds(rule, task, estimator, seed):
    clock = [time.perf_counter()]
    options = {"unroll": UNROLL, "estimator": estimator, "validation": 1, "reports": 1, "seed": seed}
    osc.train(rule, osc.task(task), steps=OUTER + 2, **options, progress=lambda *_: clock.append(time.perf_counter()))
    # The first step compiles, and the last one validates.
    return statistics.median(b - a for a, b in itertools.pairwise(clock[1:-1]))


def _step_milliseconds(seed):
    gradient = np.random.default_rng(seed).standard_normal(PARAMETERS, np.float32)
    steps = {
        (front, name): make(rule, gradient)
        for name, rule in STEPS.items()
        for front, make in {"torch": _in_torch, "jax": _in_jax}.items()
    }
    taken = {key: [] for key in steps}
    for round_ in range(ROUNDS + 2):
        for key, step in steps.items():
            begun = time.perf_counter()
            step()
            if round_ >= 2:  # the first compile
                taken[key].append(1e3 * (time.perf_counter() - begun))
    return [{"front": front, "rule": name, "ms": statistics.median(t)} for (front, name), t in taken.items()]


def _in_torch(rule, gradient):
    param = torch.nn.Parameter(torch.zeros(PARAMETERS))
    param.grad = torch.tensor(gradient)
    return Optimizer([param], rule).step


def _in_jax(rule, gradient):
    optimizer, param, grad = transform(rule), jnp.zeros(PARAMETERS), jnp.asarray(gradient)
    held = [param, optimizer.init(param)]

    @jax.jit
    def take(param, state):
        moves, state = optimizer.update(grad, state, param)
        return optax.apply_updates(param, moves), state

    def step():
        held[:] = jax.block_until_ready(take(*held))

    return step


def report(result):
    lines = [
        f"{row['training']:20} {row['outer_per_second']:7.2f} outer steps/s, {row['inner_per_second']:10.3g} optimizer "
        f"steps/s, {row['task']:4.0%} of the time in the task"
        for row in result["trainings"]
    ]
    lines += ["", f"a step on {PARAMETERS:,} parameters, ms, median of {ROUNDS} rounds in turn:"]
    lines += [f"{row['rule']:20} {row['front']:6} {row['ms']:8.2f}" for row in result["steps"]]
    return "\n".join(lines)
