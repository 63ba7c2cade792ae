"""Rules in files: what goes in comes out, and what is no rule is refused in a sentence."""

import json

import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

import optiscope as osc
from optiscope.frameworks.optax import from_optax
from optiscope.learning import card, load, save, zoo

RULES = {
    **{name: osc.rule(name) for name in osc.rules.names()},
    "wrapped": osc.Scheduled(
        osc.WeightDecay(osc.ClipByNorm(osc.Adam(lr=0.01, eps_on="raw v")), 0.1), lr=osc.Cosine(0.1, 50)
    ),
    "gru": osc.GRU.untrained(units=3, layers=2, seed=1, lr=0.1),
    "lstm": osc.LSTM.untrained(units=3, inputs="log1p"),
    "small-fc": osc.ClipByValue(osc.SmallFC.untrained(units=4), 2.0),
}


@pytest.mark.parametrize("name", RULES)
def test_round_trip(name, tmp_path):
    rule = RULES[name]
    save(rule, tmp_path / "r.safetensors", {"task": "quadratic", "figure": 0.5})
    back = load(tmp_path / "r.safetensors")
    (ours, form), (theirs, other) = jax.tree.flatten(rule), jax.tree.flatten(back)
    assert form == other
    assert all(
        np.array_equal(a, b) and np.result_type(a) == np.result_type(b) for a, b in zip(ours, theirs, strict=True)
    )
    assert card(tmp_path / "r.safetensors") == {"task": "quadratic", "figure": 0.5}


@pytest.fixture
def file(tmp_path):
    save(RULES["gru"], tmp_path / "r.safetensors")
    return tmp_path / "r.safetensors"


def changed(file, arrays=lambda a: a, header=lambda h: h):
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        told = json.loads(opened.metadata()["optiscope"])
    save_file(arrays(load_file(file)), file, {"optiscope": json.dumps(header(told))})


def test_truncated(file):
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(osc.BadInput, match="is no whole safetensors file"):
        load(file)


@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(100)])
def test_not_safetensors(file, content):
    file.write_bytes(content)
    with pytest.raises(osc.BadInput, match="is no whole safetensors file"):
        load(file)


def test_nan(file):
    changed(file, lambda arrays: {**arrays, "rule.readout.w": np.full(3, np.nan, np.float32)})
    with pytest.raises(osc.BadInput, match=r"the weights rule\.readout\.w are not all finite"):
        load(file)


def test_another_architecture(file):
    changed(file, lambda arrays: {**arrays, "rule.cells.0.U": np.zeros((4, 9), np.float32)})
    with pytest.raises(osc.BadInput, match=r"cells of a gru of .* has shapes"):
        load(file)


def test_somebody_elses_weights(file):
    save_file({"w": np.zeros(3)}, file)
    with pytest.raises(osc.BadInput, match="holds weights, but not a rule"):
        load(file)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"class": "System", "fields": {}}, "unknown rule or schedule 'System'"),
        ({"class": "Rule", "fields": {}}, "unknown rule or schedule 'Rule'"),
        ({"class": "Adam", "fields": {"rate": 1.0}}, "describes no rule"),
        ({"class": "Adam", "fields": {"lr": -1.0}}, "lr must be"),
        ({"fields": {}}, "describes no rule"),
        ({"class": "Adam", "fields": {"lr": 10**400}}, "lr must be"),
        ({"class": "GRU", "fields": {"cells": None, "readout": None}}, "its weights are no network's"),
        ({"class": "GRU", "fields": {"cells": {"tuple": []}, "readout": {"dict": {}}}}, "its weights are no network's"),
        ({"class": "SmallFC", "fields": {"layers": {"tuple": []}}}, "its weights are no network's"),
        ([1], "describes no rule"),
        ({"array": "nothing"}, "describes no rule"),
    ],
)
def test_a_header_that_describes_no_rule(file, told, says):
    changed(file, header=lambda header: {**header, "rule": told})
    with pytest.raises(osc.BadInput, match=says):
        load(file)


def test_a_long_row_asks_for_no_memory(file):
    """Of a network of a million units the weights would be terabytes."""
    changed(file, lambda arrays: {**arrays, "rule.readout.w": np.ones(1_000_000, np.float32)})
    with pytest.raises(osc.BadInput, match=r"numbers are too few for a gru of .'units': 1000000"):
        load(file)


def test_a_class_by_the_name_of_one_of_ours_takes_nobodys_place(tmp_path):
    file, adam = tmp_path / "r.safetensors", from_optax(optax.sgd(0.1), "Adam")
    save(osc.Adam(lr=0.5), file)
    assert load(file) == osc.Adam(lr=0.5)
    with pytest.raises(osc.BadInput, match=r"rule\.rule is a .*Adam, which would be read as .*adaptive\.Adam; rename"):
        save(osc.ClipByNorm(adam), file)
    with pytest.raises(osc.BadInput, match="a file takes a rule"):
        save("adam", file)


def test_a_file_of_a_later_version(file):
    changed(file, header=lambda header: {**header, "format": 9})
    with pytest.raises(osc.BadInput, match="has format 9, and this version reads 1"):
        load(file)


def test_nothing_there(tmp_path):
    with pytest.raises(osc.BadInput, match=r"cannot read .*no\.safetensors"):
        load(tmp_path / "no.safetensors")
    with pytest.raises(osc.BadInput, match="unknown trained rule 'gru-rosenbrok'"):
        load("gru-rosenbrok")
    with pytest.raises(osc.BadInput, match="cannot write"):
        save(osc.Adam(), tmp_path / "no" / "r.safetensors")


@pytest.mark.parametrize("name", zoo())
def test_the_zoo_steps_and_says_where_it_is_from(name):
    told = card(name)
    assert told["command"].startswith("optiscope train ")
    assert {"family", "seed", "options", "figures"} <= told.keys()
    runs = osc.run(load(name), osc.task("quadratic"), steps=5, seeds=2)
    assert np.isfinite(runs.loss).all()
