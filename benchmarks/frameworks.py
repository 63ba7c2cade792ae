"""How fast a step is in PyTorch: ours beside torch's own optimizers, on three sets of parameters.

All contenders of one rule take turns in one process, so that what else the machine does falls on all alike; a figure is
the median over the rounds, and what counts is the ratio of medians. `floor` is the time that the step's bytes take at
the bandwidth of a copy in the same process.
"""

from __future__ import annotations

import ctypes
import gc
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optiscope.frameworks import torch as ours

THREADS = 2
ROUNDS = 9
PASSES = {"SGD": 3, "Adagrad": 5, "RMSprop": 5, "Adam": 7, "AdamW": 7, "NAdam": 7, "Adamax": 7, "Adadelta": 7}
"""How often a step reads or writes an array as long as the parameters."""
VARIANTS = {
    name: ("fused",) if name in ("SGD", "Adagrad", "Adam", "AdamW") else ("for-loop", "foreach") for name in PASSES
}
GOALS = {"fused": 1.15, "RMSprop": 0.55, "NAdam": 0.45, "Adamax": 0.45, "Adadelta": 0.35}


def resnet50() -> list[tuple[int, ...]]:
    """The shapes of ResNet-50's 161 parameters (He et al., 2016), 25,557,032 numbers."""
    shapes: list[tuple[int, ...]] = []

    def conv(inputs: int, outputs: int, size: int) -> None:
        shapes.extend([(outputs, inputs, size, size), (outputs,), (outputs,)])

    conv(3, 64, 7)
    inputs = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            conv(inputs, width, 1)
            conv(width, width, 3)
            conv(width, 4 * width, 1)
            if block == 0:
                conv(inputs, 4 * width, 1)
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


SETS = {
    "one tensor": [(sum(map(math.prod, resnet50())),)],
    "ResNet-50": resnet50(),
    "10,000 tensors": [(100,)] * 10_000,
}


def measure(seed: int = 0) -> dict[str, Any]:
    """Milliseconds a step, ratios, seconds to compile and bytes at the peak, for every rule on every set."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    rows = []
    for name in PASSES:
        compile_seconds = _compile_seconds(name)
        for where, shapes in SETS.items():
            rows.append({"rule": name, "set": where, "compile_seconds": compile_seconds, **_race(name, shapes)})
    return {"torch": torch.__version__, "cpu": platform.processor(), "threads": THREADS, "rows": rows}


def _race(name: str, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    original = getattr(torch.optim, name)
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "ours": lambda: getattr(ours, name)(params, compiled=True),
        **{kind: lambda kind=kind: original(params, **_flags(kind)) for kind in VARIANTS[name]},
    }
    peaks = {kind: _peak(make) for kind, make in makers.items()}
    optimizers = {kind: make() for kind, make in makers.items()}
    source = torch.randn(sum(p.numel() for p in params))
    target = torch.empty_like(source)
    actions = {"copy": lambda: target.copy_(source), **{kind: made.step for kind, made in optimizers.items()}}
    taken: dict[str, list[float]] = {kind: [] for kind in actions}
    for round_ in range(ROUNDS + 2):
        for kind, action in actions.items():
            begun = time.perf_counter()
            action()
            if round_ >= 2:  # the first rounds make state and touch memory for the first time
                taken[kind].append(1e3 * (time.perf_counter() - begun))
    medians = {kind: statistics.median(times) for kind, times in taken.items()}
    best = min(VARIANTS[name], key=lambda kind: medians[kind])
    return {
        "ms": medians,
        "best": best,
        "ratio": medians["ours"] / medians[best],
        "goal": GOALS.get(best, GOALS.get(name)),
        # A copy reads, and writes what it first had to fetch: three passes.
        "floor_ms": medians["copy"] * PASSES[name] / 3,
        "peak_bytes": peaks,
    }


def _flags(kind: str) -> dict[str, bool]:
    return {"fused": True} if kind == "fused" else {"foreach": kind == "foreach"}


def _compile_seconds(name: str) -> float:
    """The first step's time less the second's, on parameters too few to matter."""
    p = nn.Parameter(torch.zeros(8))
    p.grad = torch.ones(8)
    optimizer = getattr(ours, name)([p], compiled=True)
    begun = time.perf_counter()
    optimizer.step()
    first = time.perf_counter() - begun
    optimizer.step()
    return 2 * first - (time.perf_counter() - begun)


def _peak(make: Callable[[], torch.optim.Optimizer]) -> int | None:
    """How far above where it stood the process's memory goes in making an optimizer and taking two steps (Linux)."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier contenders freed goes back to the system
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to where the memory now stands
    before = _status("VmRSS")
    optimizer = make()
    optimizer.step()
    optimizer.step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"torch {result['torch']}, {result['threads']} threads; ms a step, median of {ROUNDS} rounds in turn", ""]
    lines.append(
        f"{'rule':9} {'parameters':15} {'ours':>8} {'best':>8} {'which':9} {'ratio':>6} {'goal':>5}"
        f" {'floor':>7} {'MB':>6} {'theirs':>6} {'compile':>8}"
    )
    for row in result["rows"]:
        peaks = [
            f"{bytes_ / 1e6:.0f}" if bytes_ is not None else "?"
            for bytes_ in (row["peak_bytes"]["ours"], row["peak_bytes"][row["best"]])
        ]
        lines.append(
            f"{row['rule']:9} {row['set']:15} {row['ms']['ours']:8.2f} {row['ms'][row['best']]:8.2f} {row['best']:9} "
            f"{row['ratio']:6.2f} {row['goal']:5.2f} {row['floor_ms']:7.2f} {peaks[0]:>6} {peaks[1]:>6} "
            f"{row['compile_seconds']:7.1f}s"
        )
    return "\n".join(lines)
