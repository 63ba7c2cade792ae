"""`optiscope runs`, and the options of tune that fill the store."""

import csv
import json

import pytest

from optiscope import cli

TUNE = ["tune", "gd", "bowl", "--trials", "8", "--seeds", "2", "--steps", "5", "--json"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def command(*words):
        monkeypatch.setattr("sys.argv", ["optiscope", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_what_tune_keeps_is_listed_exported_and_deleted(run, tmp_path):
    assert run(*TUNE)[0] == 0
    first = json.loads(run(*TUNE, "--halving", "--store", "other.sqlite")[1])
    assert first["best"]["lr"] > 0
    listed = json.loads(run("runs", "--json")[1])
    assert {row["rule"] for row in listed} == {"gd"}
    assert {row["task"] for row in listed} == {"bowl"}
    code, out, _ = run("runs", "--rule", "gd")
    assert code == 0
    assert "lr=" in out
    assert run("runs", "--rule", "adam")[1].endswith("is like that; leave a filter out\n")
    assert run("runs", "--export", "runs.csv", "--steps", "5")[0] == 0
    with (tmp_path / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(listed)
    assert run("runs", "--delete", "--id", str(listed[0]["id"]))[1] == "1 runs deleted\n"
    assert json.loads(run("runs", "--delete", "--task", "bowl", "--json")[1]) == {"deleted": len(listed) - 1}
    assert json.loads(run("runs", "--json")[1]) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs"], "there is no store 'optiscope-out/runs.sqlite' yet"),
        (["runs", "--store", "notes.txt"], "no SQLite file"),
        ([*TUNE, "--workers", "2", "--dask", "tcp://nowhere:1"], "do not go together"),
    ],
)
def test_bad_input_is_a_sentence(run, tmp_path, words, sentence):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at " * 20)
    code, _, err = run(*words)
    assert code == 2
    assert sentence in err


def test_deleting_everything_has_to_be_said(run):
    run(*TUNE)
    code, _, err = run("runs", "--delete")
    assert code == 2
    assert "needs to be told which runs" in err
