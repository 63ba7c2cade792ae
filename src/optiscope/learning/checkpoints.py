"""A training on disk: everything it carries, in one safetensors file that is replaced whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import atomic
from ..errors import BadInput


def fingerprint(*told: Any) -> str:
    """What tells one training from another: the structure, shapes and numbers of what it was asked for."""
    digest = hashlib.sha256()
    for each in told:
        leaves, tree = jax.tree.flatten(each)
        # A function is told by its name: where it lies in memory is another matter in every process.
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", str(tree)).encode())
        for leaf in leaves:
            array = np.asarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(str(leaf).encode() if array.dtype == object else array.tobytes())
    return digest.hexdigest()


def write(path: Path, carried: Any, told: dict[str, Any]) -> None:
    """Write what is carried and, as JSON, what is told; the process that comes first among several does it."""
    from safetensors.numpy import save_file

    leaves = _gathered(jax.tree.leaves(carried))
    if jax.process_index() == 0:
        with atomic.replacing(path) as temporary:
            arrays = {f"{i:05}": np.asarray(leaf, order="C") for i, leaf in enumerate(leaves)}
            save_file(arrays, temporary, {"training": json.dumps(told)})


def read(path: Path, like: Any, mark: str) -> tuple[Any, dict[str, Any]]:
    """What was carried, in the form of `like`, and what was told.

    Raises:
        BadInput: the file is no checkpoint, or one of another training.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            told = json.loads((file.metadata() or {})["training"])
            arrays = [file.get_tensor(name) for name in sorted(file.keys())]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BadInput(f"{str(path)!r} is no checkpoint of a training ({error}); move it away to begin anew") from None
    leaves, tree = jax.tree.flatten(like)
    fits = told.get("mark") == mark and [np.shape(_plain(x)) for x in leaves] == [x.shape for x in arrays]
    if not fits:
        raise BadInput(
            f"{str(path)!r} is the checkpoint of another training; give this one another file, or another --out"
        )
    return jax.tree.unflatten(tree, [_placed(new, old) for new, old in zip(arrays, leaves, strict=True)]), told


def place(path: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint, once its folder is found to be one that can be written to.

    Raises:
        BadInput: it cannot.
    """
    wanted = Path(path)
    atomic.folder(wanted.parent)
    return wanted


def _gathered(leaves: list[Any]) -> list[np.ndarray]:
    plain = [_plain(leaf) for leaf in leaves]
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import process_allgather

        plain = [process_allgather(x, tiled=True) if isinstance(x, jax.Array) else x for x in plain]
    return [np.asarray(x) for x in plain]


def _plain(leaf: Any) -> Any:
    """Random keys as their data."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _placed(new: np.ndarray, old: Any) -> Any:
    """What was read, as random keys where it was keys, on the devices where `old` lies."""
    keys = jnp.issubdtype(old.dtype, jax.dtypes.prng_key)
    array = jax.random.wrap_key_data(jnp.asarray(new)) if keys else new
    return jax.device_put(array, old.sharding) if isinstance(old, jax.Array) else array
