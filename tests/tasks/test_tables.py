"""Data files as tasks: three formats, one table; what is wrong with a file is said in a sentence."""

import io
import zipfile

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope import tasks

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(5.0, 3.0, (50, 2))
COLUMNS = {"a": X[:, 0], "b": X[:, 1], "y": 2 * X[:, 0] - X[:, 1] + 1, "kind": np.where(X[:, 0] > 5, 7.0, 3.0)}


def write(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, which reads Parquet")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({name: list(column) for name, column in columns.items()}), path)
    else:
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(columns), *[",".join(map(str, row)) for row in rows]]))
    return path


@pytest.fixture(params=["csv", "npz", "parquet"])
def file(request, tmp_path):
    return write(tmp_path / f"made.{request.param}", COLUMNS)


def test_a_regression_is_standardised_on_its_training_rows_and_solved_by_least_squares(file):
    task = osc.Task.from_file(file, "y", features=["a", "b"], test=0.2)
    assert task.name == "made"
    assert (task.inputs.shape, task.targets.shape, task.test[0].shape) == ((40, 2), (40, 1), (10, 2))
    for table in (task.inputs, task.targets):
        np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(table.std(axis=0), 1, rtol=1e-12)
    # y is linear in a and b, so the standardised one is too, on the rows never seen as well.
    weights = np.linalg.lstsq(task.inputs, task.targets)[0]
    loss, metrics = task.sample(jax.random.key(0)).record([{"w": weights, "b": np.zeros(1)}])
    assert loss == pytest.approx(0, abs=1e-20)
    assert metrics == {"test_loss": pytest.approx(0, abs=1e-20)}


def test_a_classification_has_a_class_for_each_value_and_is_learned(file):
    task = osc.Task.from_file(file, "kind", features=["a", "b"], kind="classification", hidden=[8], batch=16)
    threes, sevens = (task.inputs[task.targets[:, i] == 1, 0] for i in (0, 1))
    assert len(threes) + len(sevens) == 40
    assert threes.max() < sevens.min()
    runs = osc.run(osc.Adam(lr=0.05), task, steps=100, seeds=2, every=100)
    assert runs.metrics["train_accuracy"][:, -1].min() > 0.9
    assert runs.metrics["test_accuracy"].shape == (2, 2)


@pytest.mark.parametrize(
    ("ending", "column", "sentence"),
    [
        ("csv", ["1", "", "3"], r"data row 2 has '' as its 'bad', which is no number"),
        ("csv", ["1", "two", "3"], r"data row 2 has 'two' as its 'bad', which is no number"),
        ("npz", np.array([1.0, np.nan, 3.0]), r"data row 2 has nan as its 'bad', no finite number"),
        ("npz", np.array(["1", "two", "3"]), r"'bad' must be a column of numbers, not text such as '1'"),
        ("npz", np.array([1, None, 3], dtype=object), r"cannot read .*bad\.npz': Object arrays cannot be loaded"),
        ("npz", np.zeros((3, 2)), r"'bad' must be a column of numbers, not an array of 2 axes"),
        ("npz", np.zeros(4), r"'bad' has 4 rows, the first column another number"),
        ("parquet", [1.0, None, 3.0], r"data row 2 has nan as its 'bad', no finite number"),
        ("parquet", ["1", "two", "3"], r"'bad' must be a column of numbers, not text such as '1'"),
    ],
)
def test_missing_values_and_text_are_refused(tmp_path, ending, column, sentence):
    path = write(tmp_path / f"bad.{ending}", {"x": np.arange(3.0), "bad": column})
    with pytest.raises(osc.BadInput, match=sentence):
        tasks.read_columns(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a;y\n1,5;2\n", r"has ';' between its columns; save it with commas"),
        (b"a\ty\n1\t2\n", r"has '\\t' between its columns; save it with commas"),
        ("größe,y\n1,2\n".encode("latin-1"), "is no UTF-8 text; save it as CSV in that encoding"),
    ],
)
def test_a_spreadsheets_other_ways_to_write_csv_are_refused_with_the_way_out(tmp_path, content, sentence):
    (tmp_path / "made.csv").write_bytes(content)
    with pytest.raises(osc.BadInput, match=sentence):
        tasks.read_columns(tmp_path / "made.csv")


def test_an_archive_that_is_none_or_lies_about_its_arrays_is_refused(tmp_path):
    path = tmp_path / "bad.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    for content, sentence in (
        ({}, "not a zip file"),
        ({"x.npy": header.getvalue()}, "cannot read .*allocate"),
        ({"x.txt": b"1, 2, 3"}, "'x.txt' must be a column of numbers"),
    ):
        path.write_bytes(b"")
        if content:
            with zipfile.ZipFile(path, "w") as archive:
                for name, raw in content.items():
                    archive.writestr(name, raw)
        with pytest.raises(osc.BadInput, match=sentence):
            tasks.read_columns(path)
    with path.open("wb") as file:
        np.save(file, np.arange(3.0))
    with pytest.raises(osc.BadInput, match="not a zip file"):
        tasks.read_columns(path)


@pytest.mark.parametrize("name", ["none.csv", "none.npz", "none.parquet"])
def test_files_that_are_not_there_or_not_what_they_say(tmp_path, name):
    with pytest.raises(osc.BadInput, match=r"cannot read .*none"):
        tasks.read_columns(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x93 this is no table")
    with pytest.raises(osc.BadInput, match="none"):
        tasks.read_columns(tmp_path / name)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"target": "z"}, r"unknown column 'z'; .*see the columns of .*: a, b, y, kind, one"),
        ({"target": "y", "features": ["a", "bb"]}, r"unknown column 'bb'; did you mean 'b'\?"),
        ({"target": "y", "features": ["y"]}, r"at least one column beside the target 'y'"),
        ({"target": "y", "features": []}, r"at least one column beside the target 'y'"),
        ({"target": "one", "kind": "classification"}, r"the target 'one' is 4 in every row"),
        ({"target": "one"}, r"the target 'one' is 4 in every row, so there is nothing to learn"),
        ({"target": "y", "kind": "classification"}, r"'y' takes 50 values in 50 rows; is it a regression\?"),
        ({"target": "y", "kind": "ranking"}, r"kind must be one of regression, classification, not 'ranking'"),
        ({"target": "y", "test": 1.0}, r"test=1.0 of 50 rows must leave at least two"),
        ({"target": "y", "hidden": [0]}, r"hidden must be a whole number ≥ 1, not 0"),
        ({"target": "y", "activation": "rele"}, r"an activation is one of elu, .*, not 'rele'"),
        ({"target": "y", "batch": 41}, r"batch must be a whole number from 1 to 40"),
    ],
)
def test_bad_settings(tmp_path, ask, sentence):
    path = write(tmp_path / "made.csv", {**COLUMNS, "one": np.full(50, 4.0)})
    with pytest.raises(osc.BadInput, match=sentence):
        osc.Task.from_file(path, **ask)
