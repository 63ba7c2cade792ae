"""Tables of a user's own: the named columns of a CSV, npz or Parquet file, and a task to learn one from the others."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput, unknown
from .batches import batches
from .checks import widths
from .supervised import MLP, Dataset, half_squared, softmax

KINDS = ("regression", "classification")


def read_columns(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of a file of numbers, by their names: float64 arrays of shape (rows,).

    A file is CSV, its first row naming the columns, unless its name ends in `.npz` (an array a column) or `.parquet`
    (which needs pyarrow).

    Raises:
        BadInput: the file cannot be read, has no rows, columns of unequal length, or a cell that is no finite number.
    """
    read = {".npz": _npz, ".parquet": _parquet}.get(Path(path).suffix.lower(), _csv)
    try:
        columns = read(Path(path))
    except (OSError, EOFError, MemoryError, NotImplementedError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        said = getattr(error, "strerror", None) or (str(error).splitlines() or ["it ends too soon"])[0]
        raise BadInput(f"cannot read {str(path)!r}: {said}") from None
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "fiub":
            raise BadInput(f"{str(path)!r}: {name!r} must be a column of numbers, not {_described(column)}")
        if len(column) != len(next(iter(columns.values()))):
            raise BadInput(f"{str(path)!r}: {name!r} has {len(column)} rows, the first column another number")
        (bad,) = np.nonzero(~np.isfinite(column))
        if len(bad):
            raise BadInput(
                f"{str(path)!r}: data row {bad[0] + 1} has {column[bad[0]]} as its {name!r}, no finite number"
            )
    if not columns or not len(next(iter(columns.values()))):
        raise BadInput(f"{str(path)!r} has no rows of data")
    return {name: column.astype(float) for name, column in columns.items()}


def _described(column: np.ndarray) -> str:
    return f"text such as {str(column.flat[0])!r}" if column.ndim == 1 else f"an array of {column.ndim} axes"


def _npz(path: Path) -> dict[str, np.ndarray]:
    # Not np.load, which takes a file that is no archive for an array, or for a pickle.
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
        return {name: np.asarray(array) for name, array in arrays.items()}


def _parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise BadInput("a Parquet file needs pyarrow: pip install 'optiscope[parquet]'") from None
    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            names, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[]]
        except UnicodeDecodeError:
            raise BadInput(f"{str(path)!r} is no UTF-8 text; save it as CSV in that encoding") from None
    for mark in ";\t":
        if len(names) == 1 and mark in names[0]:
            raise BadInput(f"{str(path)!r} has {mark!r} between its columns; save it with commas, numbers with points")
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


def from_file(
    path: str | Path,
    target: str,
    *,
    features: Sequence[str] | None = None,
    kind: str = "regression",
    hidden: int | Sequence[int] = (),
    activation: str = "tanh",
    batch: int | None = None,
    sampling: str = "epochs",
    test: float = 0.2,
) -> Dataset:
    """A task from a file of named columns: to predict one of them from others.

    Features, and the target of a regression, are standardised by the mean and deviation of the training rows; the loss
    is half the squared error, or the cross-entropy of the softmax over the values that the target takes.

    Args:
        path: CSV, npz or Parquet, see `read_columns`.
        target: the column to predict.
        features: the columns to predict it from; all others by default.
        kind: "regression" or "classification".
        hidden: the widths of the network's hidden layers; () for a linear model.
        activation: of the hidden layers, one of `ACTIVATIONS`.
        batch, sampling: how many rows each step sees, None for all; and how they are drawn.
        test: the share of the rows kept to test on, the same ones always.

    Raises:
        BadInput: the file is not as said, a column is not there, the target takes one value, or a setting is invalid.
    """
    if kind not in KINDS:
        raise BadInput(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    columns, where = read_columns(path), repr(str(path))
    wanted = [name for name in columns if name != target] if features is None else list(features)
    for name in (target, *wanted):
        if name not in columns:
            raise unknown("column", name, columns, f"the columns of {where}: {', '.join(columns)}")
    if not wanted or target in wanted:
        raise BadInput(f"the features must be at least one column beside the target {target!r}, not {wanted}")
    rows = len(columns[target])
    held = round(test * rows) if isinstance(test, int | float) and 0 <= test < 1 else rows
    if held > rows - 2:
        raise BadInput(f"test={test!r} of {rows} rows must leave at least two to learn from")
    order = np.random.default_rng(0).permutation(rows)
    learned, tested = np.sort(order[held:]), np.sort(order[:held])

    values = np.unique(columns[target])
    if len(values) == 1:
        raise BadInput(f"{where}: the target {target!r} is {values[0]:g} in every row, so there is nothing to learn")
    inputs = _standardised(np.stack([columns[name] for name in wanted], axis=1), learned)
    if kind == "classification":
        if len(values) > rows / 2:
            raise BadInput(f"{where}: {target!r} takes {len(values)} values in {rows} rows; is it a regression?")
        targets = (columns[target][:, None] == values[None, :]).astype(float)
    else:
        targets = _standardised(columns[target][:, None], learned)
    model = MLP((len(wanted), *widths("a task from a file", hidden), targets.shape[1]), hidden=activation)
    loss = softmax if kind == "classification" else half_squared
    kept = (inputs[tested], targets[tested]) if held else None
    drawn = batches(len(learned), batch, sampling)
    return Dataset(inputs[learned], targets[learned], Path(path).stem, model, loss, drawn, test=kept)


def _standardised(table: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Columns less their mean over the learned rows, over their deviation there, where they have one."""
    deviation = table[learned].std(axis=0)
    return (table - table[learned].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
