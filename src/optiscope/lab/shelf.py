"""A work's place in the store: the addresses of its pieces, and their arrays as flat names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .describe import describe, digest
from .environment import deciding
from .store import Store
from .work import Made, Work


class Shelf:
    """Where the pieces of one work are kept.

    A piece's address is the hash of all its result depends on: the rules, the task, the seeds, the numbers of steps,
    the precision, the versions and the machine, and the program's own text, which tells functions of one name apart.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self.store = store
        self.shared = {
            "task": describe(work.task),
            "steps": work.steps,
            "every": work.every,
            "record": work.record,
            "dtype": work.dtype,
            "program": digest(work.program().encode()),
        }

    def find(self, piece: Work) -> Made | None:
        found = self.store.find(self._address(piece))
        return None if found is None else Made(_nested(found.arrays), found.compile_seconds, found.run_seconds)

    def keep(self, piece: Work, made: Made, environment: Mapping[str, Any]) -> None:
        settings = [piece.setting(i) for i in range(piece.settings)]
        self.store.keep(
            self._address(piece),
            {**self.shared, "seeds": piece.seeds.tolist()},
            piece.task.name,
            [(rule.name, describe(rule)) for rule in settings],
            _flat(made.arrays),
            environment,
            made.compile_seconds,
            made.run_seconds,
        )

    def _address(self, piece: Work) -> str:
        own = {"rules": describe(piece.rules), "seeds": piece.seeds.tolist(), "shape": piece.shape}
        return digest({**self.shared, **own, "environment": deciding()})


def _flat(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A dict of dicts of arrays as one, its names joined by slashes."""
    found: dict[str, np.ndarray] = {}
    for name, held in arrays.items():
        found |= {f"{name}/{k}": v for k, v in _flat(held).items()} if isinstance(held, Mapping) else {name: held}
    return found


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split("/")
        at = found
        for part in path:
            at = at.setdefault(part, {})
        at[last] = array
    return found
