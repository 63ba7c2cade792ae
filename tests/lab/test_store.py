"""The store: nothing is computed twice, what is found is what would have been, and trouble is a sentence."""

import csv
import json
import sqlite3
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc
from optiscope.lab import run_each, work
from optiscope.lab.describe import canonical, describe
from optiscope.lab.store import Query, Store, schema
from optiscope.lab.store.export import export
from optiscope.tasks import Landscape

QUADRATIC = osc.task("quadratic", spectrum=(0.1, 1.0))
RULES = osc.stack([osc.Momentum(lr=lr) for lr in np.geomspace(0.01, 30, 23)])
ASK = {"steps": 20, "seeds": 6}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite"


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a few settings, so that a small sweep has many."""
    monkeypatch.setattr(work, "SIZE", 6_000.0)


@pytest.fixture
def refuse(monkeypatch):
    """Called, it lets nothing be computed any more."""

    def computed(self):
        raise AssertionError("this was there already")

    return lambda: monkeypatch.setattr(work.Work, "do", computed)


def same(a, b):
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("first", "final", "mean", "broke_at"))


def test_what_is_there_is_not_computed_again(path, refuse):
    rule = osc.Adam(lr=0.1)
    plain = osc.run(rule, QUADRATIC, **ASK)
    kept = osc.run(rule, QUADRATIC, **ASK, store=path)
    first, second = run_each([osc.Momentum(lr=0.1), rule], QUADRATIC, **ASK, store=path)
    swept = osc.sweep(RULES, QUADRATIC, **ASK, store=path)
    assert np.isinf(swept.final).any()
    refuse()
    again = osc.run(rule, QUADRATIC, **ASK, store=path)
    for runs in (kept, second, again):
        np.testing.assert_array_equal(runs.loss, plain.loss)
        np.testing.assert_array_equal(runs.broke_at, plain.broke_at)
        assert runs.loss.dtype == np.float32
    assert not np.array_equal(first.loss, plain.loss)
    with Store(path) as store:
        assert same(osc.sweep(RULES, QUADRATIC, **ASK, store=store), swept)


def test_metrics_come_back_by_their_names(path, refuse):
    task = osc.task("two-moons")
    runs = osc.run(osc.Adam(lr=0.1), task, steps=3, seeds=2, store=path)
    refuse()
    again = osc.run(osc.Adam(lr=0.1), task, steps=3, seeds=2, store=path)
    assert again.metrics.keys() == runs.metrics.keys()
    for name, values in runs.metrics.items():
        np.testing.assert_array_equal(again.metrics[name], values)


@pytest.mark.parametrize(
    "other",
    [
        {"rule": osc.Momentum(lr=0.2)},
        {"rule": osc.Momentum(lr=0.1, average=True)},
        {"task": osc.task("quadratic", spectrum=(0.2, 1.0))},
        {"task": osc.task("quadratic")},
        {"steps": 21},
        {"seeds": 7},
        {"seeds": [5, 4, 3, 2, 1, 0]},
        {"every": 2},
        {"dtype": "float64"},
    ],
)
def test_another_run_is_another_run(path, other):
    given = {"rule": osc.Momentum(lr=0.1), "task": QUADRATIC, **ASK}
    osc.run(**given, store=path)
    osc.run(**{**given, **other}, store=path)
    with Store(path) as store:
        assert len(store.runs()) == 2


def test_functions_of_one_name_are_told_apart_by_what_they_do(path):
    def bowl(weights):
        def height(x):
            return jnp.sum(jnp.asarray(weights, x.dtype) * x**2)

        return Landscape("bowl", height)

    found = [osc.run(osc.Momentum(lr=0.1), bowl(w), steps=3, seeds=2, store=path) for w in ([1.0, 2.0], [1.0, 3.0])]
    assert not np.array_equal(found[0].loss, found[1].loss)
    again = osc.run(osc.Momentum(lr=0.1), bowl([1.0, 3.0]), steps=3, seeds=2, store=path)
    np.testing.assert_array_equal(again.loss, found[1].loss)
    with Store(path) as store:
        assert len(store.runs()) == 2


def test_an_interrupted_sweep_goes_on_to_the_same_bits(path, small_pieces):
    whole = osc.sweep(RULES, QUADRATIC, **ASK)
    shares = []

    def stop(share):
        shares.append(share)
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        osc.sweep(RULES, QUADRATIC, **ASK, store=path, share=stop)
    assert len(shares) > 3
    rest = []
    resumed = osc.sweep(RULES, QUADRATIC, **ASK, store=path, share=rest.append)
    assert rest[0] == shares[-1]
    assert rest[-1] == 1
    assert same(resumed, whole)


def test_one_costly_setting_is_cut_by_its_seeds(path, monkeypatch):
    whole = osc.run(osc.Momentum(lr=0.1), QUADRATIC, steps=20, seeds=7)
    monkeypatch.setattr(work, "SIZE", 1.0)
    monkeypatch.setattr(work, "cores", lambda: 2)
    cut = osc.run(osc.Momentum(lr=0.1), QUADRATIC, steps=20, seeds=7, store=path)
    np.testing.assert_allclose(cut.loss, whole.loss, rtol=1e-4)
    with Store(path) as store:
        assert [(run["first_seed"], run["seeds"]) for run in store.runs()] == [(0, 2), (2, 2), (4, 2), (6, 1)]


WRITER = """
import sys, numpy as np
from optiscope.lab.store import Store
with Store(sys.argv[1]) as store:
    for i in range(40):
        for name in (f"{sys.argv[2]}-{i}", f"both-{i}"):
            arrays = {"final": np.full((2, 3), i, np.float32), "broke_at": np.full((2, 3), -1)}
            facts = {"seeds": [0, 1, 2], "steps": 5, "dtype": "float32"}
            store.keep(name, facts, "task", [("adam", {"lr": 0.1}), ("adam", {"lr": 0.2})], arrays, {}, 0.0, 0.0)
"""


def test_two_processes_write_at_once(path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("one", "two")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    with Store(path) as store:
        assert len(store.runs()) == 3 * 40 * 2
        assert all(store.find(f"{name}-{i}").arrays["final"][1, 2] == i for name in ("one", "both") for i in range(40))


def test_every_run_has_its_configuration_and_environment(path):
    osc.run(osc.ClipByValue(osc.Adam(lr=0.25), limit=2.0), QUADRATIC, **ASK, store=path)
    with Store(path) as store:
        (run,) = store.runs()
    assert run["rule"] == "clipbyvalue"
    assert run["setting"]["rule"]["lr"] == 0.25
    assert run["facts"]["seeds"] == list(range(6))
    assert run["facts"]["task"]["spectrum"]["shape"] == [2]
    assert {"jax", "optiscope", "threads", "device", "python"} <= run["environment"].keys()


def test_runs_are_filtered_deleted_and_computed_again(path, small_pieces):
    swept = osc.sweep(RULES, QUADRATIC, **ASK, store=path)
    osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path)
    with Store(path) as store:
        assert len(store.runs()) == 24
        (adam,) = store.runs(Query(rule="adam"))
        assert store.delete(Query(rule="adam", task="quadratic")) == 1
        some = store.runs(Query(steps=20, dtype="float32"))[3]["id"]
        assert store.delete(Query(ids=(some,))) == 1
        assert adam["id"] not in {run["id"] for run in store.runs()}
        assert same(osc.sweep(RULES, QUADRATIC, **ASK, store=store), swept)
        assert len(store.runs()) == 23


def test_csv_and_parquet_have_a_row_a_seed(path, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    runs = osc.run(osc.Momentum(lr=0.1), QUADRATIC, **ASK, store=path)
    osc.run(osc.Momentum(lr=1e9), QUADRATIC, **ASK, store=path)
    with Store(path) as store:
        assert export(store, tmp_path / "runs.csv") == 12
        assert export(store, tmp_path / "runs.parquet") == 12
        with pytest.raises(osc.BadInput, match=r"exported to \.csv or \.parquet, not to 'runs.txt'"):
            export(store, tmp_path / "runs.txt")
        with pytest.raises(osc.BadInput, match=r"no run in .* is like that"):
            export(store, tmp_path / "no.csv", Query(rule="adam"))
    assert not (tmp_path / "no.csv").exists()
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["final"]) for row in rows[:6]] == pytest.approx(runs.final.tolist(), rel=1e-6)
    assert [int(row["seed"]) for row in rows[:6]] == list(range(6))
    assert json.loads(rows[0]["setting"])["lr"] == 0.1
    assert int(rows[-1]["broke_at"]) >= 0
    table = parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    np.testing.assert_array_equal(np.array([row["loss"] for row in table[:6]], np.float32), runs.loss)


def test_an_older_store_is_brought_up_to_date_and_a_newer_one_refused(path, monkeypatch):
    runs = osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path)
    older = schema.MIGRATIONS
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*older, ("ALTER TABLE runs ADD COLUMN note TEXT DEFAULT 'none'",)))
        with Store(path) as store:
            assert [run["note"] for run in store.runs()] == ["none"]
        np.testing.assert_array_equal(osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path).loss, runs.loss)
    with pytest.raises(osc.BadInput, match="newer Optiscope"):
        Store(path)


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path)
    broken = ("ALTER TABLE runs ADD COLUMN note TEXT", "ALTER TABLE nowhere ADD COLUMN note TEXT")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(osc.BadInput, match="no such table: nowhere"):
            Store(path)
    with Store(path) as store:
        assert "note" not in store.runs()[0]


def test_a_full_disk_is_a_sentence_and_finished_runs_are_kept(path, small_pieces):
    with Store(path) as store:
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(osc.BadInput, match="the disk is full; finished runs are kept"):
            osc.sweep(RULES, QUADRATIC, **ASK, store=store)
        kept = len(store.runs())
        assert 0 < kept < 23
        store._connection.execute("PRAGMA max_page_count = 100000")
        resumed = osc.sweep(RULES, QUADRATIC, **ASK, store=store)
    assert same(resumed, osc.sweep(RULES, QUADRATIC, **ASK))


def test_a_locked_store_is_a_sentence(path, monkeypatch):
    Store(path).close()
    monkeypatch.setattr(schema, "PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(osc.BadInput, match="locked"):
        osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path)
    other.close()


def test_foreign_and_broken_files_are_refused_untouched(tmp_path):
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = theirs.read_bytes()
    with pytest.raises(osc.BadInput, match="another program's database"):
        Store(theirs)
    assert theirs.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(osc.BadInput, match="no SQLite file"):
        Store(text)
    with pytest.raises(osc.BadInput, match="cannot be opened"):
        Store(tmp_path / "nowhere" / "runs.sqlite")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pieces SET facts = '{'",
        "UPDATE runs SET setting = x'ff'",
        "UPDATE arrays SET dtype = 'O'",
        "UPDATE arrays SET shape = '[7]'",
        "UPDATE arrays SET bytes = 3",
        "DROP TABLE arrays",
    ],
)
def test_what_another_hand_wrote_is_a_sentence(path, tmp_path, change):
    osc.run(osc.Adam(lr=0.1), QUADRATIC, **ASK, store=path)
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    with Store(path) as store, pytest.raises(osc.BadInput, match=r"damaged|no such table"):
        export(store, tmp_path / "runs.csv")
    assert not (tmp_path / "runs.csv").exists()


def test_what_the_store_does_not_keep_is_refused(path):
    with pytest.raises(osc.BadInput, match="the store keeps losses"):
        osc.run(osc.Adam(), QUADRATIC, **ASK, record=["params"], store=path)


def test_descriptions_are_plain_and_tell_values_apart():
    assert canonical(describe(osc.Adam(lr=0.5))) == canonical(describe(osc.Adam(lr=np.float64(0.5))))
    assert describe(np.float32(0.5)) == describe(jnp.asarray(0.5)) == 0.5
    assert describe(float("inf")) == "inf"
    one, other = (describe(np.arange(3, dtype=d)) for d in ("int32", "int64"))
    assert one["shape"] == [3]
    assert one != other
    assert describe(osc.task("rosenbrock"))["function"] == {"function": "optiscope.tasks.landscapes.rosenbrock"}
    with pytest.raises(osc.BadInput, match="cannot describe"):
        describe(object())
