"""What a piece of work is, in plain words: canonical JSON, whose hash is its address in the store."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..errors import BadInput


def describe(thing: Any) -> Any:
    """A rule, a task or whatever they hold as JSON has it: a value by its class and fields, an array by its hash.

    Raises:
        BadInput: there is something in it that has no such description.
    """
    if isinstance(thing, str | bool | int | None):
        return thing
    if isinstance(thing, float | np.floating):
        return float(thing) if math.isfinite(thing) else str(float(thing))
    if isinstance(thing, np.integer | np.bool_):
        return thing.item()
    if isinstance(thing, np.ndarray | jax.Array):
        array = np.asarray(thing)
        if array.ndim == 0:
            return describe(array.item())
        digest = hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()
        return {"array": digest, "shape": list(array.shape), "dtype": str(array.dtype)}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
        return {"is": _path(type(thing)), **fields}
    if isinstance(thing, Mapping):
        return {str(key): describe(held) for key, held in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(held) for held in thing]
    if isinstance(thing, functools.partial):
        return {"partial": describe(thing.func), "args": describe(thing.args), "keywords": describe(thing.keywords)}
    if callable(thing) and hasattr(thing, "__qualname__"):
        # What a function does is in the address by the compiled program's text, which no name could vouch for.
        return {"function": _path(thing)}
    raise BadInput(f"the store cannot describe {thing!r}; hold it in a value, an array or a named function")


def digest(facts: Any) -> str:
    """The SHA-256 of bytes, or of facts as canonical JSON."""
    return hashlib.sha256(facts if isinstance(facts, bytes) else canonical(facts).encode()).hexdigest()


def canonical(facts: Any) -> str:
    """Facts as JSON: keys sorted, no spaces."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
