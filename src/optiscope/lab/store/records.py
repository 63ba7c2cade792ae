"""Reading and writing the store."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..describe import canonical
from .schema import connect, decoding, sentences, transaction


class Query(NamedTuple):
    """Which runs: those that agree with all that is not None."""

    rule: str | None = None
    task: str | None = None
    steps: int | None = None
    dtype: str | None = None
    ids: tuple[int, ...] | None = None

    def where(self) -> tuple[str, list[Any]]:
        """An SQL condition and its parameters."""
        given = {name: wanted for name, wanted in self._asdict().items() if wanted is not None and name != "ids"}
        parts, values = [f"{name} = ?" for name in given], list(given.values())
        if self.ids is not None:
            parts.append(f"id IN ({', '.join('?' * len(self.ids))})")
            values += self.ids
        return " AND ".join(parts) or "TRUE", values


EVERYTHING = Query()


class Found(NamedTuple):
    """What the store has of a piece: arrays of shape (settings, seeds, …), and the clocks."""

    arrays: dict[str, np.ndarray]
    compile_seconds: float
    run_seconds: float


class Store:
    """One SQLite file of finished runs; a context manager that closes it.

    Raises:
        BadInput: here and in every method, the file cannot be opened or written, is locked, full or something else's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._connection = connect(self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def find(self, address: str) -> Found | None:
        """The piece at an address, or None where it is not there whole."""
        with sentences(self.path):
            piece = self._connection.execute(
                "SELECT settings, compile_seconds, run_seconds FROM pieces WHERE address = ?", [address]
            ).fetchone()
            # All arrays in one statement, which sees one moment of a file that others write to.
            found = self._connection.execute(
                "SELECT name, arrays.dtype, shape, bytes FROM arrays JOIN runs ON run = id"
                " WHERE piece = ? ORDER BY place",
                [address],
            ).fetchall()
        columns: dict[str, list[np.ndarray]] = {}
        with decoding(self.path):
            for name, *packed in found:
                columns.setdefault(name, []).append(_unpacked(*packed))
            if piece is None or not columns or any(len(column) != piece[0] for column in columns.values()):
                return None
            return Found({name: np.stack(column) for name, column in columns.items()}, *piece[1:])

    def keep(
        self,
        address: str,
        facts: Mapping[str, Any],
        task: str,
        settings: list[tuple[str, Any]],
        arrays: Mapping[str, np.ndarray],
        environment: Mapping[str, Any],
        compile_seconds: float,
        run_seconds: float,
    ) -> None:
        """Keep a piece: what its runs share, each setting's rule and description, and arrays (settings, seeds, …).

        A piece that is there already stays: who computed it again found the same.
        """
        finals = np.where(arrays["broke_at"] >= 0, np.inf, arrays["final"])
        seeds = facts["seeds"]
        with sentences(self.path), transaction(self._connection):
            write = self._connection.execute
            write(
                "INSERT OR IGNORE INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    address,
                    _now(),
                    canonical(facts),
                    canonical(environment),
                    len(settings),
                    compile_seconds,
                    run_seconds,
                ],
            )
            for place, (rule, setting) in enumerate(settings):
                median = float(np.median(finals[place]))
                inserted = write(
                    "INSERT OR IGNORE INTO runs (piece, place, rule, setting, task, seeds, first_seed, steps, dtype,"
                    " final, diverged) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        address, place, rule, canonical(setting), task, len(seeds), seeds[0],
                        facts["steps"], facts["dtype"], median if np.isfinite(median) else None,
                        int((arrays["broke_at"][place] >= 0).sum()),
                    ],
                )  # fmt: skip
                if inserted.rowcount:
                    self._connection.executemany(
                        "INSERT INTO arrays VALUES (?, ?, ?, ?, ?)",
                        [(inserted.lastrowid, name, *_packed(array[place])) for name, array in arrays.items()],
                    )

    def log(
        self,
        address: str,
        facts: Mapping[str, Any],
        environment: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Keep how a training goes: what it is, and a row a report, in place of the rows of before."""
        with sentences(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO trainings VALUES (?, ?, ?, ?, ?)",
                [address, _now(), canonical(facts), canonical(environment), canonical(history)],
            )

    def trainings(self) -> list[dict[str, Any]]:
        """The trainings, a row each, the latest last: what each is, where it ran, and its history."""
        with sentences(self.path):
            found = self._connection.execute(
                "SELECT address, made, facts, environment, history FROM trainings ORDER BY made, rowid"
            ).fetchall()
        names = ("facts", "environment", "history")
        with decoding(self.path):
            return [
                {"address": address, "made": made, **dict(zip(names, map(json.loads, packed), strict=True))}
                for address, made, *packed in found
            ]

    def runs(self, query: Query = EVERYTHING) -> list[dict[str, Any]]:
        """The runs, a row each, the latest last: everything but the arrays."""
        return list(self._rows(query))

    def seeds(self, query: Query = EVERYTHING) -> Iterator[dict[str, Any]]:
        """A row for every seed of every run: its configuration, and the numbers and curves found."""
        for row in self._rows(query):
            with sentences(self.path):
                packed = self._connection.execute(
                    "SELECT name, dtype, shape, bytes FROM arrays WHERE run = ?", [row["id"]]
                ).fetchall()
            with decoding(self.path):
                arrays = {name: _unpacked(*rest) for name, *rest in packed}
                seeds = [
                    {**row, "seed": seed, **{name: array[i] for name, array in arrays.items()}}
                    for i, seed in enumerate(row["facts"]["seeds"])
                ]
            yield from seeds

    def delete(self, query: Query) -> int:
        """Delete runs, and say how many."""
        where, values = query.where()
        with sentences(self.path), transaction(self._connection):
            gone = self._connection.execute(f"DELETE FROM runs WHERE {where}", values).rowcount
            # What a piece shares is of no use without all its runs, but those that are left still belong to it.
            self._connection.execute("DELETE FROM pieces WHERE address NOT IN (SELECT piece FROM runs)")
        return gone

    def _rows(self, query: Query) -> Iterator[dict[str, Any]]:
        where, values = query.where()
        with sentences(self.path):
            cursor = self._connection.execute(
                "SELECT runs.*, made, facts, environment, compile_seconds, run_seconds"
                f" FROM runs JOIN pieces ON piece = address WHERE {where} ORDER BY id",
                values,
            )
            names = [column[0] for column in cursor.description]
            found = cursor.fetchall()
        for row in found:
            with decoding(self.path):
                named = dict(zip(names, row, strict=True))
                named |= {name: json.loads(named[name]) for name in ("setting", "facts", "environment")}
            yield named


@contextmanager
def opened(store: Store | str | os.PathLike[str] | None) -> Iterator[Store | None]:
    """The store, opened and closed again where it is a path; None where none is wanted."""
    if store is None or isinstance(store, Store):
        yield store
    else:
        with Store(store) as mine:
            yield mine


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _packed(array: np.ndarray) -> tuple[str, str, bytes]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.dtype.str, json.dumps(list(little.shape)), little.tobytes()


def _unpacked(dtype: str, shape: str, raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, dtype).reshape(json.loads(shape))
