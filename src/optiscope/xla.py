"""What XLA is told before it begins, in a process that has not told it otherwise."""

from __future__ import annotations

import os

OPTION = "xla_cpu_small_while_loop_byte_threshold"
BYTES = 2**16
"""A loop that reads and writes no more is compiled into one kernel. XLA's own limit is 1 KB: beyond it each operation
of each turn is a call, which costs more than a small problem's arithmetic. On ten unknowns BFGS takes half the time."""


def one_kernel_for_small_loops() -> None:
    """Raise XLA's limit on a CPU. Flags that are set already stay; a program compiled before is not made anew."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if "xla_backend_extra_options" in flags or (flags and not flags.startswith("-")):  # or it is a file's name
        return
    os.environ["XLA_FLAGS"] = f"--xla_backend_extra_options={OPTION}={BYTES} {flags}".strip()
