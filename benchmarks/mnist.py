"""MNIST by a 784–50–10 network at full size: five rules, batches of 6000, 100 epochs, 8 seeds; accuracies and seconds.

    python benchmarks/mnist.py PICTURE.png [SEEDS]

also draws the accuracies epoch by epoch. A learning rate of 0.01 for all but one of the rules is what a published
comparison used, whose training accuracies, read off its plot, stand beside those found.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import optiscope as osc
from optiscope import view

EPOCHS, BATCH, PER_EPOCH, SEEDS = 100, 6000, 10, 8
RULES = {
    "GD": osc.GradientDescent(lr=0.01),
    "GD, lr 0.5 decayed to 0.05": osc.Scheduled(
        osc.GradientDescent(), lr=osc.Exponential(0.5, 0.1, EPOCHS * PER_EPOCH)
    ),
    "AdaMax": osc.AdaMax(lr=0.01),
    "Adam": osc.Adam(lr=0.01),
    "RMSProp": osc.RMSProp(lr=0.01, rho=0.9),
}
PUBLISHED = dict(zip(RULES, (0.86, 0.90, 0.895, 0.955, 0.975), strict=True))


def compared(seeds: int = SEEDS) -> osc.Comparison:
    """Every rule on the same starts and batches, the accuracies recorded each epoch."""
    task = osc.task("mnist", batch=BATCH)
    return osc.compare(RULES, task, steps=EPOCHS * PER_EPOCH, seeds=seeds, every=PER_EPOCH)


def measure(seed: int = 0) -> dict[str, Any]:
    """Run them all, whatever the seed: the comparison has its own."""
    return figures(compared())


def figures(comparison: osc.Comparison) -> dict[str, Any]:
    """The mean accuracies at the end, their lowest and highest over the seeds, and the seconds it all took."""
    ends = {
        entry.contender.label: {
            name: [float(f(share[:, -1])) for f in (lambda x: x.mean(), lambda x: x.min(), lambda x: x.max())]
            for name, share in entry.runs.metrics.items()
        }
        for entry in comparison.entries
    }
    seconds = {e.contender.label: e.runs.compile_seconds + e.runs.run_seconds for e in comparison.entries}
    seeds = len(comparison.entries[0].runs.seeds)
    return {"seeds": seeds, "accuracy": {label: ends[label] for label in RULES}, "seconds": seconds}


def report(result: dict[str, Any]) -> str:
    """The figures in words."""
    lines = [f"MNIST, 784–50–10, batches of {BATCH}, {EPOCHS} epochs, {result['seeds']} seeds: mean (lowest, highest)"]
    for label, found in result["accuracy"].items():
        train, test = ("{:.2%} ({:.2%}, {:.2%})".format(*found[name]) for name in ("train_accuracy", "test_accuracy"))
        lines.append(f"  {label:27s} train {train}  test {test}  published train {PUBLISHED[label]:.1%}")
    lines.append(f"  {sum(result['seconds'].values()):.0f} s in all")
    return "\n".join(lines)


if __name__ == "__main__":
    begun = time.perf_counter()
    comparison = compared(*map(int, sys.argv[2:3]))
    print(report(figures(comparison)))
    print(f"  {time.perf_counter() - begun:.0f} s with loading and compiling")
    view.save(view.accuracy_curves(comparison), Path(sys.argv[1]))
