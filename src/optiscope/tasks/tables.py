"""Tables of a user's own: a CSV file as named columns of numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..errors import BadInput


def read_columns(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file whose first row names them: float64 arrays of shape (rows,).

    Raises:
        BadInput: the file cannot be read, has no rows, a row of another length, or something that is no finite number.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            names, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise BadInput(
            f"{str(path)!r} has no rows of data; its first row must name the columns and the others fill them"
        )
    if len(set(names)) != len(names):
        raise BadInput(f"{str(path)!r} names a column twice: {', '.join(names)}")
    columns = np.empty((len(names), len(rows)))
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise BadInput(f"{str(path)!r}: data row {i + 1} has {len(row)} cells, the first row {len(names)}")
        for j, cell in enumerate(row):
            try:
                columns[j, i] = float(cell)
            except ValueError:
                columns[j, i] = np.nan
            if not np.isfinite(columns[j, i]):
                raise BadInput(f"{str(path)!r}: data row {i + 1} has {cell!r} as its {names[j]!r}, which is no number")
    return dict(zip(names, columns, strict=True))
