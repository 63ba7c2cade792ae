"""The tuning protocol of Maheswaranathan et al. (2021, section 3): the best of 2,500 settings on 128 seeds.

For Momentum, RMSProp and Adam on random quadratics and on Rosenbrock: seconds, and scores on unseen problems. The score
is the mean of the losses that 200 steps saw, over the first one. That of 1,024 quadratics has a standard error of about
3 % (RMSProp, Adam), so the tuned rules are scored on 32 sets of so many, and heavy ball, with the rates that are best
in theory for these eigenvalues, beside them.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import optiscope as osc

TASKS, RULES, STEPS, SETS, PROBLEMS = ("quadratic", "rosenbrock"), ("momentum", "rmsprop", "adam"), 200, 32, 1024
ROOTS = 10**-1.5, 1.0
HEAVY_BALL = osc.Momentum(lr=4 / sum(ROOTS) ** 2, momentum=((ROOTS[1] - ROOTS[0]) / sum(ROOTS)) ** 2)


def measure(seed: int = 0) -> dict[str, Any]:
    """Tune all, compiling included, then score those of the quadratics."""
    begun, rules, clock = time.perf_counter(), {"heavy ball, in theory": HEAVY_BALL}, {}
    used = time.process_time()
    for task in TASKS:
        for name in RULES:
            started = time.perf_counter()
            study = osc.tune(name, osc.task(task), steps=STEPS, score="mean", seed=seed)
            clock[f"{name} on {task}"] = time.perf_counter() - started
            if task == "quadratic":
                rules[name] = study.best
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    return {
        "seconds": seconds,
        "processor_seconds": processor,
        "each": clock,
        "load": os.getloadavg()[0],
        "settings": {name: rule.numbers() for name, rule in rules.items()},
        "scores": {name: _scores(rule).tolist() for name, rule in rules.items()},
    }


def _scores(rule: osc.Rule) -> np.ndarray:
    """The mean score of each set of problems, shape (sets,)."""
    runs = osc.run(rule, osc.task("quadratic"), steps=STEPS, seeds=SETS * PROBLEMS)
    return runs.relative_mean.reshape(SETS, PROBLEMS).mean(axis=1)


def report(result: dict[str, Any]) -> str:
    """The figures in words."""
    lines = [
        f"Tuning {', '.join(RULES)} on {' and '.join(TASKS)}, 2500 settings x 128 seeds x {STEPS} steps, confirmed: "
        f"{result['seconds']:.1f} s ({result['processor_seconds']:.1f} s of processors, load {result['load']:.1f})"
    ]
    lines += [f"  {what:24s} {seconds:.1f} s" for what, seconds in result["each"].items()]
    lines.append(f"mean(f)/f₀ on {SETS} sets of {PROBLEMS} unseen quadratics: mean (least to most); seeds 0 to 1023")
    for name, scores in result["scores"].items():
        lines.append(f"  {name:24s} {np.mean(scores):.4f} ({min(scores):.4f} to {max(scores):.4f}); {scores[0]:.4f}")
    return "\n".join(lines)
