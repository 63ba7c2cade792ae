"""Landscapes: their minimisers are known from the literature, their stationary points from Newton and the Hessian."""

from collections import Counter

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope import tasks

LANDSCAPES = tasks.names(tasks.Landscape)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_known_minimisers_are_minima_of_one_height(name):
    task = tasks.task(name)
    near = np.random.default_rng(0).normal(size=(100, task.n)) * 1e-2
    for minimiser in task.minima:
        x = np.array(minimiser)
        assert np.linalg.norm(jax.grad(task.function)(x)) < 2e-3
        assert task.function(x) == pytest.approx(task.optimum, abs=1e-8)
        assert np.all(jax.vmap(task.function)(x + near) >= task.optimum - 1e-8)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_every_known_minimiser_is_found_as_one_and_the_lowest_come_first(name):
    task = tasks.task(name)
    points = tasks.stationary_points(task)
    for minimiser in task.minima:
        found = [p for p in points if np.allclose(p.x, minimiser, atol=1e-5)]
        assert [p.kind for p in found] == ["minimum"]
    assert [p.value for p in points] == sorted(p.value for p in points)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        # Himmelblau: 4 minima, 4 saddles, 1 maximum; Styblinski–Tang: (3 stationary points an axis)²; Rastrigin on
        # [−5.12, 5.12]²: 21 an axis, 11 of them minima. The others by hand.
        ("himmelblau", {"minimum": 4, "saddle": 4, "maximum": 1}),
        ("styblinski-tang", {"minimum": 4, "saddle": 4, "maximum": 1}),
        ("rastrigin", {"minimum": 121, "saddle": 220, "maximum": 100}),
        ("rosenbrock", {"minimum": 1}),
        ("saddle", {"saddle": 1}),
        ("monkey-saddle", {"saddle": 1}),
        ("cubic", {"saddle": 1}),
        ("xcospix", {"minimum": 2, "maximum": 1}),
        ("beale", {"minimum": 1, "saddle": 2}),
    ],
)
def test_stationary_points_are_counted_and_named(name, kinds):
    points = tasks.stationary_points(tasks.task(name))
    assert Counter(p.kind for p in points) == kinds


def test_stationary_points_stand_where_published():
    himmelblau = [p.x for p in tasks.stationary_points(tasks.task("himmelblau")) if p.kind == "minimum"]
    published = [(3, 2), (-2.8051, 3.1313), (-3.7793, -3.2832), (3.5844, -1.8481)]
    assert sorted(tuple(np.round(x, 4)) for x in himmelblau) == sorted(published)
    low, local = [p for p in tasks.stationary_points(tasks.task("xcospix")) if p.kind == "minimum"]
    assert low.x[0] == pytest.approx(1.1, abs=0.05)
    assert local.x[0] == pytest.approx(-0.3, abs=0.05)


def test_eigenvalues_are_the_hessians():
    (point,) = tasks.stationary_points(tasks.task("valley"))
    np.testing.assert_allclose(point.eigenvalues, [0.2, 4.0], rtol=1e-12)


@pytest.mark.parametrize(("name", "n", "at"), [("rosenbrock", 5, 1.0), ("rastrigin", 3, 0.0), ("ackley", 4, 0.0)])
def test_n_dimensional_ones_keep_their_minimum(name, n, at):
    task = tasks.task(name, n=n)
    assert task.function(np.full(n, at)) == pytest.approx(0, abs=1e-12)
    assert task.sample(jax.random.key(0)).start.shape == (n,)


def test_noise_is_added_to_the_gradient_with_its_standard_deviation():
    task = tasks.task("bowl", noise=0.5)
    still = osc.run(osc.GradientDescent(lr=0.0), task, steps=1, seeds=4000, record=["grads"], start=[1.0, 1.0])
    noise = still.grads[:, 0] - 2.0
    assert abs(noise.mean()) < 4 * 0.5 / 8000**0.5
    assert noise.std() == pytest.approx(0.5, rel=0.04)
    assert np.ptp(still.loss) == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: tasks.task("bowl", noise=-1.0), "noise must be a finite number ≥ 0, not -1.0"),
        (lambda: tasks.task("rosenbrock", n=1), "rosenbrock: n must be a whole number ≥ 2, not 1"),
        (lambda: tasks.stationary_points(tasks.task("ackley", n=3)), "at most 2 dimensions, not 3"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        call()
