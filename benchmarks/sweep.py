"""A sweep of Adam on Rosenbrock against the same maths written by hand, and against an eager PyTorch loop.

2,500 settings × 128 seeds × 200 steps. Optiscope's sweep and the hand-written `jax.lax.scan` run in turn in one
process and give the same scores: first, final and mean loss, and the step at which a run broke. The figure is the ratio
of the median times. The PyTorch loop's cost is extrapolated from the steps it is given time for.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optiscope as osc

SETTINGS, SEEDS, STEPS, ROUNDS = 2500, 128, 200, 15
FIELDS = ("lr", "b1", "b2", "eps")


@jax.jit
def by_hand(lr: Any, b1: Any, b2: Any, eps: Any, starts: Any) -> Any:
    """Adam on (1 − x)² + 100 (y − x²)² with its gradient by hand, x and y in arrays of their own."""
    lr, b1, b2, eps = (leaf[:, None] for leaf in (lr, b1, b2, eps))
    x, y = (jnp.broadcast_to(starts[:, i], (SETTINGS, SEEDS)) for i in (0, 1))
    zero = jnp.zeros_like(x)

    def loss(x: Any, y: Any) -> Any:
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2

    def step(carry: Any, k: Any) -> Any:
        x, y, mx, my, vx, vy, total, broke_at = carry
        r = y - x * x
        now = (1 - x) ** 2 + 100 * r * r
        broke_at = jnp.where((broke_at < 0) & ~jnp.isfinite(now), k, broke_at)
        gx, gy = -2 * (1 - x) - 400 * x * r, 200 * r
        mx, my = b1 * mx + (1 - b1) * gx, b1 * my + (1 - b1) * gy
        vx, vy = b2 * vx + (1 - b2) * gx * gx, b2 * vy + (1 - b2) * gy * gy
        c1, c2 = 1 - b1 ** (k + 1), 1 - b2 ** (k + 1)
        x = x - lr * (mx / c1) / (jnp.sqrt(vx / c2) + eps)
        y = y - lr * (my / c1) / (jnp.sqrt(vy / c2) + eps)
        return (x, y, mx, my, vx, vy, total + now, broke_at), None

    carry = (x, y, zero, zero, zero, zero, zero, jnp.full(x.shape, -1, jnp.int32))
    carry, _ = jax.lax.scan(step, carry, jnp.arange(STEPS, dtype=jnp.int32))
    return loss(x, y), loss(*carry[:2]), carry[6] / STEPS, carry[7]


def measure(seed: int = 0) -> dict[str, Any]:
    """Time both sweeps in turn, and a few steps of the PyTorch loop."""
    draws = np.random.default_rng(seed)
    task = osc.task("rosenbrock")
    leaves = {f: osc.Adam.hypers()[f].quantile(draws.uniform(size=SETTINGS)).astype(np.float32) for f in FIELDS}
    rules = osc.Adam(**leaves)
    starts = osc.run(osc.Adam(), task, steps=1, seeds=SEEDS, record=["params"]).params[:, 0]
    contenders = {
        "optiscope": lambda: osc.sweep(rules, task, steps=STEPS, seeds=SEEDS).final,
        "by hand": lambda: np.asarray(by_hand(*leaves.values(), starts)[1]),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    finals = {name: run() for name, run in contenders.items()}  # compiles
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            begun = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begun)
    medians = {name: float(np.median(t)) for name, t in times.items()}
    calm = np.isfinite(finals["by hand"]) & np.isfinite(finals["optiscope"])
    apart = np.abs(finals["optiscope"] - finals["by hand"])[calm]
    return {
        "work": f"{SETTINGS} settings x {SEEDS} seeds x {STEPS} steps",
        "median_seconds": medians,
        "spread_seconds": {name: [min(t), max(t)] for name, t in times.items()},
        "ratio": medians["optiscope"] / medians["by hand"],
        "median_difference_of_finals": float(np.median(apart)),
        "eager_torch": _eager_torch(SETTINGS * SEEDS * STEPS),
    }


def _eager_torch(steps: int, given: float = 2.0) -> dict[str, float] | None:
    """Seconds that `steps` steps of torch.optim.Adam on one Rosenbrock problem would take, from those of `given`."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    x = torch.nn.Parameter(torch.tensor([-1.5, 1.5]))
    optimizer = torch.optim.Adam([x], lr=0.01)
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < given:
        optimizer.zero_grad()
        ((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2).backward()
        optimizer.step()
        done += 1
    each = (time.perf_counter() - begun) / done
    return {"seconds_a_step": each, "extrapolated_seconds": each * steps}


def report(result: dict[str, Any]) -> str:
    """The figures in words."""
    lines = [f"Adam on Rosenbrock, {result['work']}, median of {ROUNDS} rounds (fastest to slowest):"]
    for name, seconds in result["median_seconds"].items():
        low, high = result["spread_seconds"][name]
        lines.append(f"  {name:10s} {seconds:.3f} s ({low:.3f} to {high:.3f})")
    lines.append(f"  optiscope / by hand: {result['ratio']:.2f}")
    eager = result["eager_torch"]
    if eager is None:
        lines.append("  eager PyTorch: not installed")
    else:
        hours = eager["extrapolated_seconds"] / 3600
        lines.append(
            f"  eager PyTorch, one problem at a time: {hours:.1f} h, from {eager['seconds_a_step']:.1e} s a step"
        )
    return "\n".join(lines)
