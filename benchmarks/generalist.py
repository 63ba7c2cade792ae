"""A generalist learned optimizer against Adam, on tasks that it never met in training.

Both have their learning rate chosen, from the same number of values and on the same tuning seeds, for the loss at the
end of a task's steps. The speed-up on a task is how many steps Adam needs to come to where the other ended, over the
steps that the other took (Celo2, arXiv 2602.19142); Adam may run on to `LONGER` times as many. A speed-up over all
tasks is the interquartile mean, its interval a bootstrap over the seeds of each.
"""

import numpy as np

import optiscope as osc
from optiscope.lab.contenders import RuleContender
from optiscope.lab.statistics import interval, iqm

RULE = "small-fc-small-networks"
TASKS = ("digits", "logistic-regression", "digits-conv", "airfoil-mlp")
LONGER = 4
SEEDS = 64
GROUPS = 8
"""Seeds are taken in so many groups, whose mean curves give a speed-up each: a single seed's curve is too rough."""


def measure(seed=0):
    found = []
    for name in TASKS:
        task = osc.task(name)
        rule = osc.load(RULE)
        ours = RuleContender(RULE, rule, {"lr": osc.Adam.hypers()["lr"]})
        chosen = {
            e.contender.label: e.contender.rule
            for e in osc.compare([ours, "adam"], task, seeds=range(seed, seed + 8)).entries
        }
        seeds = range(seed, seed + SEEDS)
        ended = osc.run(chosen[RULE], task, seeds=seeds).final
        adam = osc.run(chosen["adam"], task, seeds=seeds, steps=LONGER * task.steps).loss
        speeds = [
            speed(ended[group].mean(), adam[group].mean(axis=0), task.steps)
            for group in np.array_split(np.arange(SEEDS), GROUPS)
        ]
        lrs = {label: chosen[label].lr for label in (RULE, "adam")}
        found.append({"task": name, "steps": task.steps, "speed_up": speeds, "lr": lrs})
    speeds = np.array([each["speed_up"] for each in found])
    low, high = interval(speeds)
    return {"tasks": found, "iqm": float(iqm(speeds, axis=None)), "low": low, "high": high, "seeds": SEEDS}


def speed(goal, curve, steps):
    """Steps to the goal over `steps`; infinite where the curve never comes there."""
    there = np.flatnonzero(curve <= goal)
    return float(there[0] / steps) if len(there) else float("inf")


def report(result):
    lines = [
        f"{t['task']:20} {np.median(t['speed_up']):5.2f} (groups of seeds from {min(t['speed_up']):.2f} to "
        f"{max(t['speed_up']):.2f}; lr {t['lr'][RULE]:.2g}, Adam's {t['lr']['adam']:.2g})"
        for t in result["tasks"]
    ]
    lines.append(
        f"speed-up over Adam with its rate chosen, {result['seeds']} seeds a task: interquartile mean "
        f"{result['iqm']:.2f}, 95 % interval {result['low']:.2f} to {result['high']:.2f}"
    )
    return "\n".join(lines)
