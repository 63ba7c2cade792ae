"""`optiscope explain`, as a person meets it."""

import json
import sys

import pytest
from PIL import Image

import optiscope as osc
from optiscope import cli


@pytest.fixture
def optiscope(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["optiscope", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_it_prints_the_verdict_and_saves_the_picture_and_the_numbers(optiscope, tmp_path):
    code, out, err = optiscope("explain", "adam:lr=0.01", "--task", "rosenbrock")
    assert (code, err) == (0, "")
    assert out.startswith("adam on rosenbrock: momentum 0.9 with rate ")
    assert "no clipping, no schedule, adaptation exponent -1" in out
    assert "note: v: blind to the gradient's sign" in out
    with Image.open(tmp_path / "optiscope-out" / "explain-adam-rosenbrock.png") as picture:
        picture.verify()
    facts = json.loads((tmp_path / "optiscope-out" / "explain-adam-rosenbrock.json").read_text(encoding="utf-8"))
    assert facts["fixed_points"][0]["residual"] < 1e-12
    assert facts["modes"][0]["beta"] == pytest.approx([0.9, 0.0], abs=1e-10)
    assert facts["sentence"] in out


def test_as_json_it_says_nothing_else(optiscope):
    code, out, _ = optiscope("explain", "momentum:lr=0.1", "--json", "--format", "svg")
    facts = json.loads(out)
    assert code == 0
    assert facts["heavy_ball"] == pytest.approx([3.7585, 0.8811], abs=1e-4)
    assert facts["picture"].endswith(".svg")
    assert [m["mechanism"] for m in facts["mechanisms"] if m["present"]] == ["momentum"]


def test_a_saved_rule_is_explained_from_its_file(optiscope, tmp_path):
    osc.save(osc.ClipByValue(osc.Momentum(lr=0.1), 0.5), tmp_path / "mine.safetensors")
    code, out, _ = optiscope("explain", "mine.safetensors")
    assert code == 0
    assert "clipping at ±0.5" in out


def test_what_is_no_rule_is_refused_in_a_sentence(optiscope):
    code, out, err = optiscope("explain", "admm")
    assert (code, out) == (2, "")
    assert err == "optiscope: unknown rule 'admm'; did you mean 'adam'? see 'optiscope rules'\n"
