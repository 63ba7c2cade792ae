"""The tasks' distributions and data."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope import tasks
from optiscope.tasks import files


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_samples_a_problem_that_its_key_determines(name, small_mnist):
    task = tasks.task(name)
    one, again, other = (task.sample(jax.random.key(seed)) for seed in (3, 3, 4))
    loss, grads = jax.value_and_grad(one.loss)(one.start)
    assert np.shape(loss) == ()
    assert np.isfinite(loss)
    assert jax.tree.all(jax.tree.map(lambda g: bool(np.isfinite(g).all()), grads))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one.start, again.start))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one.start, other.start))
    assert task.steps >= 1


def test_quadratics_have_their_spectrum_and_their_minimum_is_zero():
    task = tasks.task("quadratic", spectrum=(0.0, 0.5, 2.0))
    problem = task.sample(jax.random.key(0))
    np.testing.assert_allclose(np.linalg.eigvalsh(problem.hessian), [0, 0.5, 2], atol=1e-12)
    assert problem.loss(problem.minimiser) == pytest.approx(0, abs=1e-20)
    drawn = [np.linalg.eigvalsh(tasks.task("quadratic").sample(jax.random.key(s)).hessian) for s in range(200)]
    logs = np.log10(np.abs(drawn))
    assert logs.min() > -3.001
    assert logs.max() < 0.001
    assert logs.mean() == pytest.approx(-1.5, abs=3 * 3 / 12**0.5 / 1000**0.5)


def test_heavy_balls_theory_value_on_quadratics():
    """Heavy ball with the α*, β* of eigenvalues in [1e-3, 1] reaches mean(f)/f₀ = 0.0471 on 1024 problems."""
    a, b = 1e-3**0.5, 1.0
    rule = osc.Momentum(lr=4 / (a + b) ** 2, momentum=((b - a) / (b + a)) ** 2)
    runs = osc.run(rule, tasks.task("quadratic"), steps=200, seeds=1024)
    scores = runs.loss[:, :-1].mean(axis=1) / runs.loss[:, 0]
    assert scores.mean() == pytest.approx(0.0471, abs=3 * float(scores.std()) / 32)


def test_airfoil_is_standardised_and_its_optimum_is_the_least_squares_floor():
    task = tasks.task("airfoil")
    assert task.inputs.shape == (1500, 5)
    assert task.optimum == pytest.approx(0.241688, abs=5e-7)
    design = np.hstack([task.inputs, np.ones((1500, 1))])
    solution = np.linalg.lstsq(design, task.targets)[0]
    problem = task.sample(jax.random.key(0))
    best = [{"w": solution[:5], "b": solution[5]}]
    assert problem.loss(best) == pytest.approx(task.optimum, rel=1e-12)


def test_airfoil_mlp_is_5_32_1_with_tanh():
    problem = tasks.task("airfoil-mlp").sample(jax.random.key(0))
    assert [layer["w"].shape for layer in problem.start] == [(5, 32), (32, 1)]
    x = problem.inputs[:4]
    (first, second) = problem.start
    by_hand = np.tanh(x @ first["w"] + first["b"][None]) @ second["w"] + second["b"][None]
    np.testing.assert_allclose(problem.model(problem.start, x), by_hand, rtol=1e-12)


def test_logistic_loss_is_the_cross_entropy():
    problem = tasks.task("logistic-regression").sample(jax.random.key(1))
    p = 1 / (1 + np.exp(-problem.model(problem.start, problem.inputs)))
    y = problem.targets
    assert set(np.unique(y)) == {0.0, 1.0}
    assert problem.loss(problem.start) == pytest.approx(float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))))


def test_xor_labels_and_that_a_network_learns_them():
    task = tasks.task("xor")
    problem = task.sample(jax.random.key(0))
    signs = np.asarray(problem.inputs) > 0
    assert (np.asarray(problem.targets)[:, 0] == (signs[:, 0] != signs[:, 1])).all()
    runs = osc.run(osc.Momentum(lr=1.0), task, steps=2000, seeds=8, every=2000)
    assert np.median(runs.final) < 0.3 * np.median(runs.loss[:, 0])


def test_two_moons_are_two_half_circles_and_a_network_parts_them():
    task = tasks.task("two-moons")
    problem = task.sample(jax.random.key(0))
    x, y = np.asarray(problem.inputs), np.asarray(problem.targets)[:, 0]
    assert x.shape == (1024, 2)
    assert y.mean() == 0.5
    upper, lower = x[y == 0], x[y == 1]
    # Each lies on its circle of radius 1 but for noise of 0.1 in each coordinate.
    for moon, centre in ((upper, (0, 0)), (lower, (1, 0.5))):
        radius = np.linalg.norm(moon - np.array(centre), axis=1)
        assert radius.mean() == pytest.approx(1, abs=0.02)
        assert radius.std() == pytest.approx(0.1, rel=0.15)
    assert upper[:, 1].min() > -0.4
    assert lower[:, 1].max() < 0.9
    norm = np.sqrt(sum(np.sum(np.square(p)) for p in jax.tree.leaves(problem.start)))
    plain = dataclasses.replace(problem, penalty=None).loss(problem.start)
    assert problem.loss(problem.start) == pytest.approx(float(plain + 5e-3 * norm), rel=1e-12)
    runs = osc.run(osc.Adam(lr=0.03), task, steps=300, seeds=[0], record=["params"])
    ended = jax.tree.map(lambda p: p[0, -1], runs.params)
    run_problem = task.sample(jax.random.fold_in(jax.random.key(0), 0))
    right = (np.asarray(run_problem.model(ended, run_problem.inputs)) > 0) == (np.asarray(run_problem.targets) > 0.5)
    assert right.mean() > 0.98


def test_digits_are_scikit_learns_and_a_network_learns_them():
    task = tasks.task("digits")
    reference = pytest.importorskip("sklearn.datasets", reason="scikit-learn, whose digits these are").load_digits()
    np.testing.assert_array_equal(task.inputs, reference.data / 16)
    np.testing.assert_array_equal(task.targets.argmax(axis=1), reference.target)
    runs = osc.run(osc.Adam(lr=3e-3), task, steps=300, seeds=2, every=300, record=["params"])
    problem = task.sample(jax.random.key(0))
    ended = jax.tree.map(lambda p: p[0, -1], runs.params)
    right = np.asarray(problem.model(ended, task.inputs)).argmax(axis=1) == reference.target
    assert right.mean() > 0.95
    before = np.asarray(problem.model(problem.start, task.inputs))
    logs = before - np.log(np.exp(before).sum(axis=1, keepdims=True))
    assert problem.loss(problem.start) == pytest.approx(-logs[np.arange(1797), reference.target].mean(), rel=1e-10)


def test_a_corrupted_data_file_is_refused(tmp_path, monkeypatch):
    name = "airfoil_self_noise.dat"
    monkeypatch.setenv("OPTISCOPE_DATA", str(tmp_path))
    own = Path(files.__file__).parent / "data" / name
    assert hashlib.sha256(files.read(name)).hexdigest() == files.SHA256[name]
    shutil.copy(own, tmp_path / name)
    assert files.read(name) == own.read_bytes()
    (tmp_path / name).write_bytes(own.read_bytes()[:-1])
    with pytest.raises(osc.BadInput, match=r"airfoil_self_noise\.dat is corrupted: its SHA-256"):
        files.read(name)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: osc.task("airfoyl"), "unknown task 'airfoyl'; did you mean 'airfoil'"),
        (lambda: osc.task("airfoil", bach=10), "unknown setting of airfoil 'bach'; did you mean 'batch'"),
        (lambda: osc.task("quadratic", spectrum=(-1.0,)), "eigenvalues ≥ 0"),
        (lambda: osc.task("quadratic", n=0), "n must be a whole number ≥ 1"),
        (lambda: osc.task("linear-regression", rows=0), "rows must be a whole number ≥ 1"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        call()
