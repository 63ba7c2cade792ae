"""The store's runs as tables for other programs: CSV and Parquet, a row for every seed of every run."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ... import atomic
from ...errors import BadInput
from ..describe import canonical
from .records import EVERYTHING, Query, Store

BATCH = 4096
"""Rows that are in memory at a time."""
ENDINGS = (".csv", ".parquet")


def export(store: Store, path: Path, query: Query = EVERYTHING) -> int:
    """Write the runs to a .csv or .parquet file, and say how many rows it has.

    Columns: rule, setting (JSON), task, seed, steps, dtype, first and final loss, the mean loss that the steps saw,
    after how many steps it broke (−1 for never), the piece's address and when it was made. Parquet has the loss curve
    too, a list.

    Raises:
        BadInput: the ending is another, a package is missing, nothing is found, or the store cannot be read.
    """
    if path.suffix not in ENDINGS:
        raise BadInput(f"runs are exported to {' or '.join(ENDINGS)}, not to {path.name!r}")
    rows = (_row(found) for found in store.seeds(query))
    begun = next(rows, None)
    if begun is None:
        raise BadInput(f"no run in {store.path} is like that; 'optiscope runs' lists what there is")
    write = _csv if path.suffix == ".csv" else _parquet
    atomic.folder(path.parent)
    with atomic.replacing(path) as temporary:
        return write(temporary, itertools.chain([begun], rows))


def _row(found: dict[str, Any]) -> dict[str, Any]:
    loss = np.append(found["loss"], found["final"])
    return {
        "rule": found["rule"],
        "setting": canonical(found["setting"]),
        "task": found["task"],
        "seed": found["seed"],
        "steps": found["steps"],
        "dtype": found["dtype"],
        "first": float(loss[0]),
        "final": float(loss[-1]),
        "mean": float(found["total"]) / found["steps"],
        "broke_at": int(found["broke_at"]),
        "address": found["piece"],
        "made": found["made"],
        "loss": loss.tolist(),
    }


def _csv(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer: csv.DictWriter | None = None
        for row in rows:
            del row["loss"]
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)
            count += 1
    return count


def _parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput("Parquet needs pyarrow: pip install 'optiscope[parquet]'; or export to .csv") from None
    count = 0
    writer = None
    try:
        while some := list(itertools.islice(rows, BATCH)):
            table = pyarrow.Table.from_pylist(some)
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            count += len(some)
    finally:
        if writer:
            writer.close()
    return count
