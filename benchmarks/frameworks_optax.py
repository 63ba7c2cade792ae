"""How fast a step is in JAX: the optax front beside optax, on three sets of parameters, with and without donation.

A step is `update` and `apply_updates`, compiled as one program. Ours and optax's take turns in one process, who goes
first changing from round to round; a figure is the median over the rounds, and what counts is the ratio of medians.
Beside it stands the compiler's own count of each program's memory traffic and arithmetic, which no noise disturbs.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optiscope.frameworks import optax as ours

ROUNDS = 21
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", {}),
    "momentum": ("sgd", {"momentum": 0.9}),
    "adagrad": ("adagrad", {}),
    "adadelta": ("adadelta", {}),
    "rmsprop": ("rmsprop", {}),
    "adam": ("adam", {}),
    "adamw": ("adamw", {}),
    "amsgrad": ("amsgrad", {}),
    "adamax": ("adamax", {}),
    "nadam": ("nadam", {}),
    "lion": ("lion", {}),
    "radam": ("radam", {}),
}


def resnet50() -> list[tuple[int, ...]]:
    """The shapes of ResNet-50's 161 parameters (He et al., 2016), 25,557,032 numbers."""
    shapes: list[tuple[int, ...]] = [(3, 64, 7, 7), (64,), (64,)]
    inputs = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            layers = [(inputs, width, 1), (width, width, 3), (width, 4 * width, 1)]
            layers += [(inputs, 4 * width, 1)] if block == 0 else []
            for before, after, size in layers:
                shapes += [(before, after, size, size), (after,), (after,)]
            inputs = 4 * width
    return [*shapes, (2048, 1000), (1000,)]


SETS = {
    "one tensor": [(sum(math.prod(shape) for shape in resnet50()),)],
    "ResNet-50": resnet50(),
    "1,000 tensors": [(1000,)] * 1000,
}


def measure(seed: int = 0) -> dict[str, Any]:
    """Time both fronts' steps, in milliseconds, in every setting."""
    rounds = int(os.environ.get("OPTISCOPE_ROUNDS", ROUNDS))
    rows = []
    for name, shapes in SETS.items():
        draws = np.random.default_rng(seed)
        grads = [jnp.asarray(draws.standard_normal(shape, dtype=np.float32)) for shape in shapes]
        for rule in CONTENDERS:
            for donate in (False, True):
                rows.append({"set": name, "rule": rule, "donate": donate, **_duel(rule, grads, donate, rounds)})
    return {"rounds": rounds, "rows": rows}


def _duel(rule: str, grads: list[Any], donate: bool, rounds: int) -> dict[str, Any]:
    name, settings = CONTENDERS[rule]
    runs = {front: _Run(getattr(made, name)(1e-3, **settings), grads, donate) for front, made in _FRONTS.items()}
    for k in range(rounds + 2):
        for run in list(runs.values())[:: 1 if k % 2 else -1]:
            run.step()
    medians = {front: 1e3 * float(np.median(run.times[2:])) for front, run in runs.items()}
    costs = {front: run.program.cost_analysis() for front, run in runs.items()}
    return {
        "ms": medians,
        "ratio": medians["optiscope"] / medians["optax"],
        "temporary_bytes": {front: run.program.memory_analysis().temp_size_in_bytes for front, run in runs.items()},
        "traffic_ratio": costs["optiscope"]["bytes accessed"] / costs["optax"]["bytes accessed"],
        "arithmetic_ratio": costs["optiscope"]["flops"] / costs["optax"]["flops"],
    }


_FRONTS = {"optiscope": ours, "optax": optax}


class _Run:
    def __init__(self, tx: Any, grads: list[Any], donate: bool) -> None:
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        params = [jnp.array(grad) for grad in grads]
        self.at, self.grads, self.times = (params, tx.init(params)), grads, []
        self.program = jax.jit(step, donate_argnums=(0, 1) if donate else ()).lower(*self.at, grads).compile()

    def step(self) -> None:
        begun = time.perf_counter()
        self.at = jax.block_until_ready(self.program(*self.at, self.grads))
        self.times.append(time.perf_counter() - begun)


def report(result: dict[str, Any]) -> str:
    """The figures in words."""
    lines = [f"ms a step, ours / optax, medians of {result['rounds']} rounds; without donation, then with it:"]
    for name in SETS:
        lines.append(f"  {name}")
        rows = [row for row in result["rows"] if row["set"] == name]
        for rule in CONTENDERS:
            pair = sorted((row for row in rows if row["rule"] == rule), key=lambda row: row["donate"])
            figures = (f"{r['ms']['optiscope']:7.2f} / {r['ms']['optax']:7.2f} = {r['ratio']:.2f}" for r in pair)
            counted = f"bytes {pair[0]['traffic_ratio']:.2f}, arithmetic {pair[0]['arithmetic_ratio']:.2f}"
            lines.append(f"    {rule:9s} {'     '.join(figures)}     {counted}")
        ratios = [row["ratio"] for row in rows]
        lines.append(f"    median ratio {np.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    return "\n".join(lines)
