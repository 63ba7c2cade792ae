"""The outer loop: it learns, it counts, it resumes to the same bits, alone and among several."""

import json
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope.learning import PES, Backprop, FullES, Imitation, TruncatedES, recipes
from optiscope.learning.programs import Programs
from optiscope.values import static, value

SMALL = {"steps": 6, "unroll": 12, "reports": 3, "validation": 8}


def gru(**settings):
    return osc.GRU.untrained(**{"units": 4, **settings})


def weights(rule):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(rule)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_it_learns_to_beat_gradient_descent_on_quadratics():
    """Gradient descent tuned with 2500 trials leaves a mean loss of 0.284 of the first over 200 steps."""
    made = osc.train(osc.GRU.untrained(units=48), osc.task("quadratic"), steps=50, estimator=Backprop(16))
    assert made.history[-1]["step"] == 50
    assert made.best["validation"] < 0.284
    assert made.best["diverged"] == made.rejected == 0
    runs = osc.run(made.rule, osc.task("quadratic"), seeds=64)
    assert runs.loss.mean(axis=1).mean() < runs.loss[:, 0].mean()


def test_the_leaves_of_adam_are_leaves():
    """Its rate by meta-gradient, from one that is far too small; the fields that are not named stay."""
    options = {"steps": 40, "unroll": 50, "estimator": Backprop(16), "optimizer": osc.Adam(lr=0.1)}
    made = osc.train(osc.Adam(lr=1e-3), osc.task("quadratic"), fields=["lr", "b1"], **options)
    assert made.rule.lr > 3e-3
    assert made.rule.b1 != 0.9
    assert 0 < made.rule.b1 < 1
    assert (made.rule.b2, made.rule.eps) == (pytest.approx(0.999), pytest.approx(1e-8))
    assert made.history[-1]["validation"] < made.history[0]["validation"]


@pytest.mark.parametrize("rule", [osc.AdaGrad(), osc.RMSProp(), osc.WeightDecay(osc.Adam(), 0.0)])
def test_a_hyperparameter_of_0_stays_where_nothing_could_move_it(rule):
    """Its coordinate is −∞, and one such refused every outer step."""
    made = osc.train(rule, osc.task("bowl"), **SMALL)
    assert made.rejected == 0
    assert made.last.numbers() != pytest.approx(rule.numbers())
    stayed = [name for name, number in rule.numbers().items() if number == 0]
    assert stayed
    assert all(made.last.numbers()[name] == 0 for name in stayed)


def test_a_rule_inside_a_wrapper_is_trained_where_it_is():
    made = osc.train(osc.ClipByValue(gru(), 0.5), osc.task("bowl"), **SMALL)
    assert made.rule.limit == 0.5
    assert np.any(made.rule.rule.readout["w"] != 0)


def test_a_training_that_goes_astray_is_taken_back(tmp_path):
    """An outer rate of 2 throws Adam's lr by a factor of e² a step."""
    options = {"fields": ["lr"], "optimizer": osc.Adam(lr=2.0), "steps": 24, "reports": 12, "unroll": 20}
    options |= {"estimator": Backprop(4), "validation": 16}
    astray = osc.train(osc.Adam(lr=0.01), osc.task("bowl"), **options)
    assert astray.history[-1]["validation"] > 2 * astray.best["validation"]

    def stop(step, row):
        if step == 15:
            raise KeyboardInterrupt

    options |= {"rollback": 2.0, "checkpoint": tmp_path / "c.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        osc.train(osc.Adam(lr=0.01), osc.task("bowl"), **options, progress=stop)
    resumed = osc.train(osc.Adam(lr=0.01), osc.task("bowl"), **options)
    whole = osc.train(osc.Adam(lr=0.01), osc.task("bowl"), **{**options, "checkpoint": None})
    assert (resumed.last, resumed.rule) == (whole.last, whole.rule)
    for k, row in enumerate(whole.history):
        best = min(whole.history[: k + 1], key=lambda r: r["validation"])
        assert row["back_to"] == (best["step"] if row["validation"] > 2 * best["validation"] else None)
    assert any(row["back_to"] for row in whole.history)
    assert whole.history[-1]["validation"] < 2 * whole.best["validation"]


def test_nothing_is_taken_back_that_was_not_asked_to_be():
    """The second step throws the rate by a factor of e⁵, and every run diverges."""
    options = {"optimizer": osc.SignDescent(lr=1.0), "steps": 2, "reports": 2, "unroll": 100, "validation": 4}
    options["optimizer"] = osc.Scheduled(options["optimizer"], lr=osc.Exponential(0.5, 10.0, 1))
    made = osc.train(osc.GradientDescent(lr=0.1), osc.task("bowl"), **options)
    assert [row["diverged"] for row in made.history] == [0, 4]
    assert [row["back_to"] for row in made.history] == [None, None]
    assert made.last.lr > 10 > made.rule.lr
    asked = osc.train(osc.GradientDescent(lr=0.1), osc.task("bowl"), **options, rollback=1e9)
    assert [row["back_to"] for row in asked.history] == [None, 1]


@pytest.mark.parametrize("estimator", [Backprop(4), FullES(4, 2), TruncatedES(4, truncation=5), PES(4, truncation=5)])
def test_an_interruption_changes_nothing(estimator, tmp_path):
    options = {**SMALL, "estimator": estimator, "seed": 3}
    tasks = [osc.task("bowl"), osc.task("logistic-regression", batch=10)][: 1 + isinstance(estimator, PES)]
    whole = osc.train(gru(), tasks, **options)

    def stop(step, row):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        osc.train(gru(), tasks, **options, checkpoint=tmp_path / "c.safetensors", progress=stop)
    resumed = []
    again = osc.train(
        gru(),
        tasks,
        **options,
        checkpoint=tmp_path / "c.safetensors",
        progress=lambda step, row: resumed.append(step),
    )
    assert resumed == [4, 5, 6]
    assert same(again.last, whole.last)
    assert same(again.rule, whole.rule)
    untimed = [[{**row, "seconds": None} for row in made.history] for made in (again, whole)]
    assert untimed[0] == untimed[1]


class Awaited:
    """A number that is waited for, and a signal that comes meanwhile."""

    def __int__(self):
        signal.raise_signal(signal.SIGINT)
        return 0


@pytest.mark.parametrize("moment", ["step", "validate"])
def test_ctrl_c_while_something_is_waited_for_changes_nothing(moment, tmp_path, monkeypatch):
    options = {**SMALL, "estimator": PES(4, truncation=5)}
    whole = osc.train(gru(), osc.task("bowl"), **options)
    step, validate, file = Programs.step, Programs.validate, tmp_path / "c.safetensors"

    def stepped(self, outer, k):
        made = step(self, outer, k)
        return made._replace(rejected=Awaited()) if k == 2 and moment == "step" else made

    def validated(self, theta):
        if file.exists() and moment == "validate":
            signal.raise_signal(signal.SIGINT)
        return validate(self, theta)

    with monkeypatch.context() as patched:
        patched.setattr(Programs, "step", stepped)
        patched.setattr(Programs, "validate", validated)
        with pytest.raises(KeyboardInterrupt):
            osc.train(gru(), osc.task("bowl"), **options, checkpoint=file)
    again = osc.train(gru(), osc.task("bowl"), **options, checkpoint=file)
    assert same(again.last, whole.last)
    assert [row["step"] for row in again.history] == [2, 4, 6]


KILLED = """
import sys, optiscope as osc
from optiscope.learning import PES
osc.train(osc.GRU.untrained(units=4), osc.task("bowl"), steps=40, unroll=12, reports=20, validation=8,
          estimator=PES(4, truncation=5), checkpoint=sys.argv[1], progress=lambda step, row: print(step, flush=True))
"""


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    options = {"steps": 40, "unroll": 12, "reports": 20, "validation": 8, "estimator": PES(4, truncation=5)}
    file = tmp_path / "c.safetensors"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 17:
                process.send_signal(signal.SIGKILL)
                break
    resumed = []
    with jax.enable_x64(False):
        again = osc.train(gru(), osc.task("bowl"), **options, checkpoint=file, progress=lambda s, r: resumed.append(s))
        whole = osc.train(gru(), osc.task("bowl"), **options)
    assert 1 < resumed[0] < 40
    assert same(again.last, whole.last)
    assert same(again.rule, whole.rule)


def test_a_recipe_may_have_the_rule_taught_before(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "LESSONS", 3)
    taught = recipes.Recipe(
        "gru", "quadratic", lambda: [osc.task("quadratic")], Backprop(2), {"units": 3}, steps=2,
        options={"validation": 2, "unroll": 10, "clamp": 2.0}, taught=Imitation(osc.GradientDescent(lr=1.0)),
    )  # fmt: skip
    told = []
    kept = {"checkpoint": tmp_path / "a.safetensors", "progress": lambda step, row: told.append((step, row["step"]))}
    made = taught.train(taught.rule(0), 0, **kept)
    assert told == [(-2, -2), (-1, -1), (0, 0), (1, 1), (2, 2)]
    assert same(taught.train(taught.rule(0), 0, checkpoint=None).last, made.last)
    (tmp_path / "a.safetensors").unlink()
    again = taught.train(taught.rule(0), 0, **kept)  # the lessons are not taken again
    assert told[5:] == [(1, 1), (2, 2)]
    assert same(made.last, again.last)


def test_a_recipe_is_found_however_it_is_spelled():
    assert recipes.recipe("GRU", "Two_Moons") is recipes.recipe("gru", "two-moons")


def test_random_lengths_are_spread_between_the_two():
    lengths = []

    class Noted(Backprop):
        def estimate(self, inner, theta, states, keys, horizons, steps):
            lengths.append(steps)
            return super().estimate(inner, theta, states, keys, horizons, steps)

    made = osc.train(gru(), osc.task("bowl"), **{**SMALL, "steps": 30, "unroll": (3, 48)}, estimator=Noted(2))
    assert made.history[-1]["step"] == 30
    # Each length is a program, traced once: five of them, evenly in the logarithm.
    assert sorted(lengths) == [3, 6, 12, 24, 48]


def test_an_estimate_that_is_not_finite_is_counted_and_the_best_is_kept():
    """A readout so large that every run overflows: no step can be taken, and the training says so and stops."""
    rule = gru()
    rule = rule.replace(readout={**rule.readout, "b": np.float32(1e30)})
    made = osc.train(rule, osc.task("rosenbrock"), **SMALL)
    assert made.ended.startswith("stopped after 2 of 6 outer steps: no estimate of the last 2 was finite")
    assert made.rejected == 2
    assert made.history[-1]["loss"] is None
    assert made.history[-1]["diverged"] == 8
    assert same(made.rule, rule)


def test_a_training_that_stopped_stays_stopped(tmp_path):
    """Asked for again it takes no step more, but says what it said."""
    rule = gru()
    rule = rule.replace(readout={**rule.readout, "b": np.float32(1e30)})
    first, again = (
        osc.train(rule, osc.task("rosenbrock"), **SMALL, checkpoint=tmp_path / "c.safetensors") for _ in range(2)
    )
    assert (again.ended, again.history) == (first.ended, first.history)


def test_functions_and_classes_of_one_name_are_not_taken_for_each_other():
    """As where a cell of a notebook is run again, edited."""
    near, far = (
        osc.Task.from_loss(lambda x, c=c: ((x - c) ** 2).sum() + 1.0, np.zeros(3), name="square") for c in (1.0, 3.0)
    )
    ours, others = (osc.train(osc.GradientDescent(lr=0.1), task, **SMALL).best["validation"] for task in (near, far))
    assert others < ours - 0.1


def test_an_estimator_of_the_same_name_is_another():
    met = []

    def noted(word):
        class Noted(Backprop):
            def estimate(self, *given):
                met.append(word)
                return super().estimate(*given)

        return Noted(2)

    for word in ("first", "second"):
        osc.train(gru(), osc.task("bowl"), **SMALL, estimator=noted(word))
    assert met == ["first", "second"]


def test_any_optax_transformation_is_an_outer_optimizer():
    import optax

    ours, theirs = (
        osc.train(gru(), osc.task("bowl"), **SMALL, optimizer=outer) for outer in (osc.Adam(lr=1e-2), optax.adam(1e-2))
    )
    for a, b in zip(weights(ours.last), weights(theirs.last), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


SHARED = """
import json, sys, jax
devices, process = int(sys.argv[1]), sys.argv[2:]
jax.config.update("jax_num_cpu_devices", devices)
if process:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{process[1]}", 2, int(process[0]))
import numpy as np, optiscope as osc
from optiscope.learning import PES
made = osc.train(osc.GRU.untrained(units=4), osc.task("bowl"), steps=6, unroll=12, reports=3, validation=8,
                 estimator=PES(4, truncation=5), dtype="float64", checkpoint=process[2] if process else None)
if jax.process_index() == 0:
    print(json.dumps([np.asarray(x).tolist() for x in jax.tree.leaves(made.last)]))
"""


def shared(*arguments):
    return subprocess.Popen([sys.executable, "-c", SHARED, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def read(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return [np.asarray(x) for x in json.loads(out.splitlines()[-1])]


@pytest.fixture(scope="module")
def alone():
    options = {"steps": 6, "unroll": 12, "reports": 3, "validation": 8, "estimator": PES(4, truncation=5)}
    return weights(osc.train(gru(), osc.task("bowl"), **options, dtype="float64").last)


def test_two_devices_come_to_the_same_weights(alone):
    for a, b in zip(read(shared(2)), alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_two_processes_come_to_the_same_weights(alone, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "c.safetensors"
    first, second = shared(1, 0, port, file), shared(1, 1, port, file)
    for a, b in zip(read(first), alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert file.exists()


def not_scalar(task):
    @value
    class Problem(type(task.sample(jax.random.key(0)))):
        def loss(self, params, batch=None):
            return params

    @value
    class Task(osc.Task):
        name: str = static(default="vectors")

        def sample(self, key):
            drawn = task.sample(key)
            return Problem(drawn.start, drawn.hessian, drawn.minimiser)

    return Task()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unroll": 0}, "unroll must be a whole number of steps ≥ 1, or two of them, not 0"),
        ({"unroll": (5, 3)}, "unroll goes from the least to the most steps"),
        ({"rollback": 1.0}, "rollback is a factor above 1, such as 2, not 1.0"),
        ({"steps": 0}, "steps must be a whole number ≥ 1, not 0"),
        ({"rule": "gru"}, "a rule is wanted, such as osc.GRU.untrained"),
        ({"task": "quadratic"}, "a task is wanted, such as osc.task"),
        ({"task": []}, "at least one task is wanted"),
        ({"task": not_scalar(osc.task("quadratic"))}, "the loss of vectors must be one number"),
        ({"fields": ["weights"]}, "unknown leaf of gru 'weights'"),
        ({"rule": osc.AdaGrad(), "fields": ["initial"]}, "adagrad: initial cannot be trained from 0.0; begin within"),
        ({"optimizer": "adam"}, r"the outer optimizer is a rule, such as osc.Adam\(\), or optax's, not 'adam'"),
        ({"seed": -1}, "seed must be a whole number ≥ 0, not -1"),
        ({"seed": 0.5}, "seed must be a whole number ≥ 0, not 0.5"),
        ({"clamp": -2.0}, "clamp must be a finite number > 0, not -2.0"),
        ({"l2": float("nan")}, "l2 must be a finite number ≥ 0, not nan"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, not 'float16'"),
    ],
)
def test_bad_input(change, says):
    given = {"rule": gru(), "task": osc.task("bowl"), **SMALL, **change}
    with pytest.raises(osc.BadInput, match=says):
        osc.train(given.pop("rule"), given.pop("task"), **given)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    file = tmp_path / "c.safetensors"
    osc.train(gru(), osc.task("bowl"), **SMALL, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(osc.BadInput, match="is the checkpoint of another training; give this one another file"):
        osc.train(gru(), osc.task("bowl"), **SMALL, seed=1, checkpoint=file)
    assert file.read_bytes() == before
    file.write_bytes(before[:100])
    with pytest.raises(osc.BadInput, match="is no checkpoint of a training"):
        osc.train(gru(), osc.task("bowl"), **SMALL, checkpoint=file)
