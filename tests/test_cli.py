"""The command line, as a person meets it: what it prints, what it writes, how it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import curve_fit

from optiscope import cli, tasks


@pytest.fixture
def optiscope(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["optiscope", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_compare_prints_a_table_and_saves_the_picture_and_the_numbers(optiscope, tmp_path):
    code, out, err = optiscope("compare", "airfoil", "--rules", "adam,gd:lr=0.05", "--seeds", 8, "--steps", 40)
    assert (code, err) == (0, "")
    assert "loss after 40 steps, 8 seeds; the least there is 0.241688" in out
    assert "adam" in out
    assert "gd:lr=0.05" in out
    with Image.open(tmp_path / "optiscope-out" / "compare-airfoil.png") as picture:
        picture.verify()
    facts = json.loads((tmp_path / "optiscope-out" / "compare-airfoil.json").read_text())
    assert {row["rule"] for row in facts["rules"]} == {"adam", "gd:lr=0.05"}
    assert facts["optimum"] == pytest.approx(0.241688, abs=5e-7)
    assert sorted(p.name for p in (tmp_path / "optiscope-out").iterdir()) == [
        "compare-airfoil.json",
        "compare-airfoil.png",
        "runs.sqlite",
    ]


def test_compare_tunes_over_several_tasks_and_writes_a_report(optiscope, tmp_path):
    ask = ("--rules", "gd,momentum:lr=0.1", "--steps", 10, "--seeds", 4, "--tune", 8, "--tuning-seeds", 4)
    code, out, err = optiscope("compare", "bowl", "parabola", *ask, "--report", "out.html")
    assert (code, err) == (0, "")
    assert "settings, 8 trials each" in out
    assert "gd: lr" in out
    assert "from LogUniform(1e-06, 10)" in out
    assert "over 2 tasks" in out
    assert "report: out.html" in out
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Over 2 tasks" in page
    assert "momentum:lr=0.1" in page
    facts = json.loads(optiscope("compare", "bowl", "parabola", *ask, "--json")[1])
    assert [c["task"] for c in facts["comparisons"]] == ["bowl", "parabola"]
    assert {row["rule"] for row in facts["rules"]} == {"gd", "momentum:lr=0.1"}
    scheduled = json.loads(optiscope("compare", "bowl", *ask, "--with-schedule", "--json")[1])
    assert {row["rule"] for row in scheduled["rules"]} == {"gd + clip + schedule", "momentum:lr=0.1 + clip"}


def test_compare_as_json_says_the_same_and_nothing_else(optiscope):
    ask = ("compare", "parabola", "--rules", "gd:lr=10,gd:lr=0.1", "--steps", 40, "--seeds", 4, "--json")
    code, out, err = optiscope(*ask)
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["diverged"] for row in facts["rules"]] == [0, 4]
    assert facts["rules"][1]["mean"] == "inf"
    assert facts["rules"][1]["verdict"] == "no significant difference"  # four seeds cannot show one, and it says so
    assert "no significant difference" in facts["sentence"]
    again = json.loads(optiscope(*ask)[1])
    timeless = [{k: v for k, v in row.items() if "seconds" not in k} for row in facts["rules"]]
    assert timeless == [{k: v for k, v in row.items() if "seconds" not in k} for row in again["rules"]]


def test_batch_and_defaults(optiscope):
    code, out, _ = optiscope(
        "compare", "airfoil", "--rules", "gd", "--batch", "all", "--defaults", "--steps", 3, "--seeds", 2, "--json"
    )
    facts = json.loads(out)
    assert code == 0
    assert facts["settings"] == {"batch": None}
    assert facts["rules"][0]["lr"] == 0.01
    assert not facts["rules"][0]["lr_chosen"]


def test_tune_prints_the_best_and_saves_every_trial(optiscope, tmp_path):
    code, out, _ = optiscope("tune", "momentum", "quadratic", "--trials", 30, "--seeds", 4, "--steps", 20)
    assert code == 0
    assert "momentum on quadratic: 30 settings, 4 seeds, 20 steps" in out
    facts = json.loads((tmp_path / "optiscope-out" / "tune-momentum-quadratic.json").read_text())
    assert len(facts["trials"]) == 30
    assert set(facts["best"]) == {"lr", "momentum"}
    assert json.loads(optiscope("tune", "gd", "parabola", "--trials", 4, "--seeds", 2, "--json")[1])["rule"] == "gd"


def test_trace_draws_and_animates(optiscope, tmp_path):
    code, out, _ = optiscope(
        "trace", "himmelblau", "--rules", "gd:lr=0.01,adam:lr=0.5", "--from", "0,0", "--gif", "--json"
    )
    facts = json.loads(out)
    assert code == 0
    assert facts["rules"][0]["start"] == [0, 0]
    assert facts["rules"][0]["end"] == pytest.approx([3, 2], abs=1e-3)
    with Image.open(tmp_path / "optiscope-out" / "trace-himmelblau.gif") as moving:
        assert moving.n_frames > 20
    with Image.open(tmp_path / "optiscope-out" / "trace-himmelblau.png") as still:
        still.verify()


def test_trace_chooses_rates_that_stay_in_the_picture(optiscope):
    code, out, _ = optiscope("trace", "saddle", "--rules", "gd", "--from", "1,0.001", "--steps", 50, "--json")
    (walk,) = json.loads(out)["rules"]
    assert code == 0
    assert max(map(abs, walk["end"])) <= 3
    assert walk["value"] < 0


def test_trace_on_one_variable(optiscope):
    code, out, _ = optiscope("trace", "xcospix", "--rules", "gd:lr=0.02", "--from", "-0.9", "--json")
    assert code == 0
    assert json.loads(out)["rules"][0]["end"] == pytest.approx([-0.273935], abs=1e-4)


def test_minimize_reports_where_it_ended_and_what_it_called(optiscope):
    code, out, _ = optiscope("minimize", "rosenbrock", "--method", "newton", "--from", "-1.5,1.5", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["status"] == "converged"
    assert facts["x"] == pytest.approx([1, 1], abs=1e-8)
    assert facts["evaluations"]["gradient"] > 0
    assert "converged" in optiscope("minimize", "rosenbrock", "--from", "-1.5,1.5")[1]


def test_a_seed_draws_one_start_for_every_command(optiscope):
    found = json.loads(optiscope("minimize", "himmelblau", "--seed", 3, "--json")[1])
    drawn = json.loads(optiscope("trace", "himmelblau", "--rules", "gd:lr=0.01", "--seed", 3, "--json")[1])
    assert found["start"] == drawn["rules"][0]["start"]


def test_fit_prints_parameters_with_standard_errors(optiscope, tmp_path):
    x = np.linspace(0, 5, 40)
    y = 2 * (1 - np.exp(-0.7 * x)) + 0.01 * np.random.default_rng(0).normal(size=40)
    np.savetxt(tmp_path / "data.csv", np.stack([x, y], axis=1), delimiter=",", header="x,y", comments="")
    code, out, _ = optiscope("fit", "data.csv", "--model", "b1*(1-exp(-b2*x))", "--start", "b1=1,b2=1", "--json")
    facts = json.loads(out)
    reference, covariance = curve_fit(lambda x, a, b: a * (1 - np.exp(-b * x)), x, y, p0=(1, 1))
    assert code == 0
    assert list(facts["parameters"].values()) == pytest.approx(reference.tolist(), rel=1e-6)
    assert list(facts["standard_errors"].values()) == pytest.approx(np.sqrt(np.diag(covariance)).tolist(), rel=1e-4)
    assert (tmp_path / "optiscope-out" / "fit.png").stat().st_size > 0


def test_rules_and_tasks_list_and_describe(optiscope):
    for command, one in (("rules", "adam"), ("tasks", "himmelblau")):
        code, out, _ = optiscope(command)
        assert code == 0
        assert one in out
        code, out, _ = optiscope(command, one, "--json")
        assert code == 0
        assert json.loads(out)[0]["name"] == one
    assert "m̂ / (√v̂ + ε)" in optiscope("rules", "adam")[1]
    described = optiscope("tasks", "himmelblau")[1]
    assert described == optiscope("tasks", "Himmelblau")[1]
    assert described.count("minimum") == 4
    assert {row["name"] for row in json.loads(optiscope("tasks", "--json")[1])} == set(tasks.names())


def test_rules_that_are_named_and_none_are_not_all_rules(optiscope):
    code, _, err = optiscope("compare", "bowl", "--rules", "")
    assert (code, err) == (2, "optiscope: at least one rule is wanted; 'optiscope rules' lists them\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("compare airfoil --rules admm", "unknown rule 'admm'; did you mean 'adam'? see 'optiscope rules'"),
        ("compare airfoyl", "unknown task 'airfoyl'; did you mean 'airfoil'? see 'optiscope tasks'"),
        ("compare airfoil --rules adam:lrr=1", "unknown field of adam 'lrr'; did you mean 'lr'?"),
        ("compare airfoil --rules adam:lr=-1", "adam: lr must be a finite number ≥ 0, not -1.0"),
        ("compare airfoil --rules adam:lr=nan", "adam: lr must be a finite number ≥ 0, not nan"),
        ("compare airfoil --rules adam:lr=fast", "adam: lr must be a number, not 'fast'"),
        ("compare airfoil --rules adam:b1=1", "adam: b1 must be a number in [0, 1), not 1.0"),
        ("compare airfoil --batch 2000", "batch must be a whole number from 1 to 1500, the rows there are, not 2000"),
        ("compare airfoil --batch few", "--batch takes a whole number of rows or 'all', not 'few'"),
        ("compare bowl Bowl", "two tasks are called 'bowl', and results are kept by that name"),
        ("runs --id 99999999999999999999", "Invalid value for '--id'"),
        ("compare bowl --batch 10", "unknown setting of bowl 'batch'"),
        ("compare bowl --goal nan", "target must be a finite loss, not nan"),
        ("compare bowl --report .", "'.' is a directory"),
        ("gallery --rules ,", "at least one rule is wanted"),
        ("compare airfoil --steps 0", "steps must be a whole number ≥ 1, not 0"),
        ("compare airfoil --dtype float16", "dtype must be one of float32, float64, not 'float16'"),
        ("compare airfoil --seeds 0", "Invalid value for '--seeds'"),
        ("trace rosenbrock --from 1,2,3", "--from needs 2 numbers on this landscape, not the 3 of '1,2,3'"),
        ("trace rosenbrock --from a,b", "--from takes numbers separated by commas"),
        ("trace rosenbrock --from 1,inf", "--from needs finite numbers"),
        ("trace airfoil", "airfoil is no landscape"),
        ("trace rosenbrock --rules ,", "at least one rule is wanted"),
        ("trace rosenbrock --rules adam,adam", "adam is there twice"),
        ("minimize airfoil", "airfoil is no landscape"),
        ("minimize rosenbrock --method bfsg", "bfgs"),
        ("fit nothing.csv --model b*x --start b=1", "cannot read 'nothing.csv': No such file or directory"),
        ("fit a-file --model b*x --start b=1", "has no rows of data"),
        ("fit bad.csv --model b*x --start b=1", "data row 2 has 'three' as its 'y', which is no number"),
        ("fit good.csv --model b*z --start b=1", "'z'"),
        ("fit good.csv --model __import__('os') --start b=1", "__import__"),
        ("fit good.csv --model b*x --start b", "--start takes name=number pairs"),
        ("fit good.csv --model b*x --start b=1,b=2", "--start gives b twice; give each parameter once"),
        ("trace rosenbrock --noise -1", "noise must be a finite number ≥ 0"),
        ("tune admm quadratic", "unknown rule 'admm'"),
        ("tune adam quadratic --score best", "score must be one of final, mean"),
        ("rules adom", "unknown rule 'adom'; did you mean 'adam'?"),
        ("tasks himelblau", "unknown task 'himelblau'; did you mean 'himmelblau'?"),
        ("bench", "no benchmarks in 'benchmarks'"),
        ("compare airfoil --out a-file/below", "cannot write to 'a-file/below'"),
        ("compre airfoil", "No such command 'compre'"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(optiscope, tmp_path, arguments, sentence):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "bad.csv").write_text("x,y\n1,2\n2,three\n")
    (tmp_path / "good.csv").write_text("x,y\n1,2\n2,4.1\n3,5.9\n")
    code, out, err = optiscope(*arguments.split())
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.rglob("*.png"))


def test_a_corrupted_data_file_is_a_sentence(optiscope, tmp_path, monkeypatch):
    (tmp_path / "airfoil_self_noise.dat").write_text("1\t2\t3\n")
    monkeypatch.setenv("OPTISCOPE_DATA", str(tmp_path))
    tasks.real._airfoil_rows.cache_clear()
    code, _, err = optiscope("compare", "airfoil")
    assert code == 2
    assert "airfoil_self_noise.dat is corrupted" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_a_sentence(optiscope, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = optiscope("compare", "bowl", "--steps", 2, "--seeds", 2)
    tmp_path.chmod(0o700)
    assert code == 2
    assert "cannot write to 'optiscope-out': Permission denied; choose another folder with --out" in err


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from optiscope import cli; cli.cli.main(['--help'], standalone_mode=False); "
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'torch', 'keras', 'rich'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


def test_ctrl_c_ends_with_130_and_leaves_no_unfinished_file(tmp_path):
    out = tmp_path / "out"
    program = "from optiscope.cli import main; main()"
    command = [sys.executable, "-c", program, "compare", "airfoil", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 60
        while not out.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(2)  # into the work itself
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    # What was finished is kept; SQLite's own files beside it are its way to survive this.
    assert {path.name for path in out.iterdir()} <= {"runs.sqlite", "runs.sqlite-shm", "runs.sqlite-wal"}
