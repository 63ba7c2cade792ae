"""A random search of Adam on Rosenbrock: `osc.tune` against optax in a Python loop and Optuna's random sampler.

The study is the paper's: 2,500 settings × 128 seeds × 200 steps (Maheswaranathan et al., 2021). The optax loop compiles
one step and runs all seeds in it, which is how such a study is commonly written; Optuna's objective is the same loop,
with its in-memory storage. Both are too slow to be waited for, so they are given a few trials and the rest is
extrapolated: every trial costs the same. The contenders take turns in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optiscope as osc

TRIALS, SEEDS, STEPS, ROUNDS, TRIED = 2500, 128, 200, 5, 10
FIELDS = ("lr", "b1", "b2", "eps")


def _by_optax() -> Callable[..., float]:
    """A trial of optax's Adam: the mean final loss over the seeds, from a Python loop over compiled steps."""
    import optax

    task = osc.task("rosenbrock")
    starts = osc.run(osc.Adam(), task, steps=1, seeds=SEEDS, record=["params"]).params[:, 0]
    adam = optax.inject_hyperparams(optax.adam)

    @jax.jit
    def step(params: Any, state: Any, settings: Any) -> Any:
        grads = jax.vmap(jax.grad(task.function))(params)
        updates, state = adam(**settings).update(grads, state._replace(hyperparams=settings))
        return optax.apply_updates(params, updates), state

    def trial(**settings: float) -> float:
        named = {k: jnp.float32(settings[f]) for k, f in zip(("learning_rate", *FIELDS[1:]), FIELDS, strict=True)}
        params = jnp.asarray(starts)
        state = adam(**named).init(params)
        for _ in range(STEPS):
            params, state = step(params, state, named)
        final = np.asarray(jax.vmap(task.function)(params))
        return float(np.where(np.isfinite(final), final, np.inf).mean())

    return trial


def _by_optuna(trial: Callable[..., float], seed: int) -> Callable[[int], None]:
    """So many trials in a study of Optuna's."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = osc.Adam.hypers()

    def objective(asked: Any) -> float:
        settings = {f: float(spaces[f].quantile(asked.suggest_float(f, 0.0, 1.0))) for f in FIELDS}
        return min(trial(**settings), 1e300)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return lambda count: study.optimize(objective, n_trials=count)


def measure(seed: int = 0) -> dict[str, Any]:
    """Time the study, and a few trials of the other two, in turn."""
    draws = np.random.default_rng(seed)
    task, trial, spaces = osc.task("rosenbrock"), _by_optax(), osc.Adam.hypers()
    optuna = _by_optuna(trial, seed)

    def loop() -> None:
        for _ in range(TRIED):
            trial(**{f: float(spaces[f].quantile(draws.uniform())) for f in FIELDS})

    def study() -> None:
        osc.tune("adam", task, trials=TRIALS, seeds=SEEDS, steps=STEPS, extend=False, seed=seed)

    contenders = {
        "optiscope": (study, 1.0),
        "optax loop": (loop, TRIALS / TRIED),
        "optuna": (lambda: optuna(TRIED), TRIALS / TRIED),
    }
    first = {}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):  # the first compiles
        for name, (run, scale) in contenders.items():
            begun = time.perf_counter()
            run()
            seconds = time.perf_counter() - begun
            if turn:
                times[name].append(seconds * scale)
            else:
                first[name] = seconds
    medians = {name: float(np.median(t)) for name, t in times.items()}
    return {
        "work": f"{TRIALS} settings x {SEEDS} seeds x {STEPS} steps",
        "median_seconds": medians,
        "spread_seconds": {name: [min(t), max(t)] for name, t in times.items()},
        "compile_and_first_seconds": first,
        "ratios": {name: medians[name] / medians["optiscope"] for name in ("optax loop", "optuna")},
    }


def report(result: dict[str, Any]) -> str:
    """The figures in words."""
    lines = [f"Tuning Adam on Rosenbrock, {result['work']}, median of {ROUNDS} rounds (fastest to slowest):"]
    for name, seconds in result["median_seconds"].items():
        low, high = result["spread_seconds"][name]
        how = "confirmation included" if name == "optiscope" else f"extrapolated from {TRIED} settings"
        lines.append(f"  {name:10s} {seconds:.2f} s ({low:.2f} to {high:.2f}), {how}")
    for name, ratio in result["ratios"].items():
        lines.append(f"  {name} / optiscope: {ratio:.0f}")
    return "\n".join(lines)
