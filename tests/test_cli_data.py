"""A data file from the command line: learned, compared, and refused in a sentence where it cannot be."""

import json

import numpy as np
import pytest

from optiscope import cli

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(40, 2))
ROWS = np.column_stack([X, X @ [2.0, -1.0], X[:, 0] > 0])
FILES = {
    "rows": ["a,b,price,kind", *(",".join(map(str, row)) for row in ROWS)],
    "missing": ["a,price", "1,2", ",3", "2,4"],
    "text": ["a,price", "1,2", "two,3", "2,4"],
    "constant": ["a,price", "1,2", "3,2", "2,2"],
    "short": ["a,price", "1,2", "3", "2,2"],
    "empty": ["a,price"],
}


@pytest.fixture
def optiscope(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, lines in FILES.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))

    def run(words):
        monkeypatch.setattr("sys.argv", ["optiscope", *words.split()])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_rules_are_compared_and_tuned_on_a_file(optiscope):
    few = "--steps 20 --seeds 2 --json"
    code, out, err = optiscope(f"compare rows.csv --target price --features a,b --rules gd:lr=0.1,adam:lr=0.1 {few}")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert {row["rule"] for row in facts["rules"]} == {"gd:lr=0.1", "adam:lr=0.1"}
    assert "test_loss" in facts["rules"][0]["metrics"]
    learned = f"tune gd rows.csv --target kind --kind classification --hidden 4 --batch 8 --trials 4 {few}"
    code, out, err = optiscope(learned)
    assert (code, err) == (0, "")
    assert json.loads(out)["task"] == "rows"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("missing.csv --target price", "data row 2 has '' as its 'a', which is no number"),
        ("text.csv --target price", "data row 2 has 'two' as its 'a', which is no number"),
        ("constant.csv --target price", "the target 'price' is 2 in every row, so there is nothing to learn"),
        ("constant.csv --target price --kind classification", "is 2 in every row"),
        ("short.csv --target price", "data row 2 has 1 cells, the first row 2"),
        ("empty.csv --target price", "has no rows of data"),
        ("rows.csv --target prise", "unknown column 'prise'; did you mean 'price'?"),
        ("rows.csv --target price --features a,c", "unknown column 'c'"),
        ("rows.csv --target price --kind ranking", "kind must be one of regression, classification, not 'ranking'"),
        ("rows.csv --target price --kind classification", "takes 40 values in 40 rows; is it a regression?"),
        ("rows.csv --target price --hidden wide", "--hidden takes whole numbers separated by commas"),
        ("rows.csv --target price --batch 1000", "batch must be a whole number from 1 to 32"),
        ("rows.csv", "say which column of rows.csv to predict, with --target; it has a, b, price, kind"),
        ("nowhere.csv --target price", "cannot read 'nowhere.csv': No such file or directory"),
        ("bowl --target price", "--target is for data files, such as rows.csv, and bowl is a task's name"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(optiscope, words, sentence):
    for command in ("compare", "tune gd"):
        code, out, err = optiscope(f"{command} {words}")
        assert (code, out) == (2, "")
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
