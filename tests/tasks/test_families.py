"""Families of tasks: random networks, and tasks in random units."""

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope import tasks


def test_networks_differ_in_depth_width_activation_and_data_and_a_longer_list_begins_with_a_shorter():
    made = tasks.networks(30)
    assert [task.name for task in made[:3]] == ["digits", "two-moons", "airfoil-mlp"]
    models = [task.model for task in made]
    assert {len(model.sizes) for model in models} == {3, 4, 5}
    hidden = [width for model in models for width in model.sizes[1:-1]]
    assert min(hidden) >= 4
    assert max(hidden) <= 64
    assert abs(np.log(hidden).mean() - np.log(16)) < 4 * np.log(16) / 12**0.5 / len(hidden) ** 0.5  # √(4 · 64) = 16
    assert len({model.hidden for model in models}) >= 4
    assert [task.model for task in tasks.networks(4)] == models[:4]
    assert tasks.networks(4, seed=1)[0].model != models[0]


def test_sign_descent_in_other_units_takes_the_units_steps():
    """By the chain rule a step of −lr · sign(∂f/∂φ) on φ = θ / s is a step of −lr · s · sign(∂f/∂θ) on θ."""
    task = tasks.Rescaled(osc.task("two-moons", rows=64, hidden=4), decades=2.0)
    problem = task.sample(jax.random.key(0))
    inner, scales = problem.problem, jax.tree.leaves(problem.scales)
    assert all(1e-2 <= float(s) <= 1e2 for s in scales)
    assert len({float(s) for s in scales}) == 4
    assert problem.loss(problem.start) == pytest.approx(float(inner.loss(inner.start)), rel=1e-12)
    grads = jax.tree.leaves(jax.grad(problem.loss)(problem.start))
    for grad, own, s in zip(grads, jax.tree.leaves(jax.grad(inner.loss)(inner.start)), scales, strict=True):
        np.testing.assert_allclose(grad, own * s, rtol=1e-10)
    runs = osc.run(osc.rule("sign", lr=0.0), task, steps=2, seeds=2)
    assert set(runs.metrics) == {"train_accuracy"}
    assert task.name == "two-moons, rescaled"
