"""Metrics: what a problem records beside its loss, at each record and the end."""

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope.tasks import means


def shares(task, seed, params):
    """The share of rows classified rightly, by NumPy, of the training and the test rows."""
    problem = task.sample(jax.random.fold_in(jax.random.key(seed), 0))
    found = []
    for inputs, targets in ((problem.inputs, problem.targets), problem.test):
        guesses = np.asarray(problem.model(params, inputs)).argmax(axis=1)
        found.append(np.mean(guesses == np.asarray(targets).argmax(axis=1)))
    return found


def test_accuracies_are_recorded_with_the_loss(small_mnist):
    task = osc.task("mnist", size=7, hidden=8, batch=32)
    runs = osc.run(osc.Adam(lr=0.02), task, steps=7, seeds=[2, 5], every=3, record=["params"], dtype="float64")
    assert runs.at.tolist() == [0, 3, 6, 7]
    assert set(runs.metrics) == {"train_accuracy", "test_accuracy", "test_loss"}
    for i, seed in enumerate((2, 5)):
        for j in range(4):
            params = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], runs.params)
            train, test = shares(task, seed, params)
            assert runs.metrics["train_accuracy"][i, j] == pytest.approx(train, abs=1e-12)
            assert runs.metrics["test_accuracy"][i, j] == pytest.approx(test, abs=1e-12)


def test_rows_pass_block_by_block_and_each_counts_once(small_mnist, monkeypatch):
    task = osc.task("mnist", size=7, hidden=8)
    problem = task.sample(jax.random.key(0))
    loss, metrics = problem.record(problem.start)
    gradient = jax.grad(problem.loss)(problem.start)
    monkeypatch.setattr(means, "BLOCK", 36)  # 96 training rows and 40 to test on: neither is a multiple
    assert problem.loss(problem.start) == pytest.approx(float(loss), rel=1e-12)
    for name, share in problem.record(problem.start)[1].items():
        assert share == pytest.approx(float(metrics[name]), rel=1e-12)
    blocked = jax.grad(problem.loss)(problem.start)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15), blocked, gradient)


def test_a_comparison_keeps_them_and_a_store_too(small_mnist, tmp_path):
    task = osc.task("mnist-conv", size=7, channels=(2,), kernels=(3,), judged=50)
    ask = {"steps": 4, "seeds": 2, "every": 2, "store": tmp_path / "runs.db"}
    made, found = (osc.run(osc.GradientDescent(lr=0.1), task, **ask) for _ in range(2))
    assert made.metrics["test_accuracy"].shape == (2, 3)
    for name in made.metrics:
        np.testing.assert_array_equal(made.metrics[name], found.metrics[name])
    comparison = osc.compare(["gd:lr=0.1"], task, steps=4, seeds=2, every=2)
    np.testing.assert_array_equal(comparison.entries[0].runs.metrics["train_accuracy"], made.metrics["train_accuracy"])


def test_a_problem_without_metrics_has_none():
    assert osc.run(osc.Adam(), osc.task("bowl"), steps=2, seeds=2).metrics == {}
