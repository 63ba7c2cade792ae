"""What a result was made on, so that it can be made again."""

from __future__ import annotations

import functools
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("optiscope", "jax", "jaxlib", "numpy", "scipy")
DECIDES_BITS = ("optiscope", "jax", "jaxlib", "processor", "device", "threads", "xla_flags")


@functools.cache
def environment() -> dict[str, Any]:
    """Versions, device and threads, as plain text and numbers."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "threads": cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def deciding() -> dict[str, Any]:
    """The part of the environment that the bits of a result can depend on."""
    return {name: environment()[name] for name in DECIDES_BITS}


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
