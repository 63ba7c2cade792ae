"""Runs: equal to plain loops, whatever the cutting; failures flagged and nothing else disturbed."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope.frameworks import numpy as front
from optiscope.lab import drive

ROSENBROCK = osc.task("rosenbrock")
RULES = [osc.GradientDescent(lr=1e-3), osc.Adam(lr=0.05), osc.Nadam(lr=0.02), osc.RMSProp(centered=True, momentum=0.5)]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_a_run_is_the_numpy_fronts(rule):
    runs = osc.run(
        rule, ROSENBROCK, steps=60, seeds=[5], dtype="float64", record=["params", "grads", "steps", "states"]
    )
    gradient = jax.grad(ROSENBROCK.function)
    walk = front.iterate(lambda x: np.asarray(gradient(x)), runs.params[0, 0], rule)
    for k, step in zip(range(60), walk, strict=False):
        np.testing.assert_allclose(runs.params[0, k], step.x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(runs.grads[0, k], step.grad, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(runs.steps[0, k], step.step, rtol=1e-10, atol=1e-14)
        for name, value in step.state.items():
            np.testing.assert_allclose(runs.states[0][name][0, k], value, rtol=1e-10, atol=1e-14)
    heights = [ROSENBROCK.function(x) for x in runs.params[0]]
    np.testing.assert_allclose(runs.loss[0], heights, rtol=1e-12)


def test_mini_batches_are_a_plain_loop_over_the_samplers_draws():
    task = osc.task("airfoil", batch=400)
    runs = osc.run(osc.Momentum(lr=0.05), task, steps=9, seeds=[3], dtype="float64")
    seed = jax.random.key(3)
    problem, state = task.sample(jax.random.fold_in(seed, 0)), None
    params, velocity = problem.start, jax.tree.map(np.zeros_like, problem.start)
    state = problem.batches.begin(jax.random.fold_in(seed, 1))
    losses = [problem.loss(params)]
    for k in range(9):
        batch, state = problem.batches.draw(state, k)
        grads = jax.grad(problem.loss)(params, batch)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - 0.05 * v, params, velocity)
        losses.append(problem.loss(params))
    np.testing.assert_allclose(runs.loss[0], losses, rtol=1e-12)


@pytest.mark.parametrize("budget", [1, 3_000, 40_000])
@pytest.mark.parametrize("every", [1, 7])
def test_the_memory_budget_changes_no_bit(monkeypatch, budget, every):
    task = osc.task("airfoil", batch=64)
    ask = {"steps": 30, "seeds": 5, "every": every, "record": ["params", "steps"], "dtype": "float64"}
    whole = osc.run(osc.Adam(lr=0.01), task, **ask)
    monkeypatch.setattr(drive, "BUDGET", budget)
    cut = osc.run(osc.Adam(lr=0.01), task, **ask)
    np.testing.assert_array_equal(whole.at, cut.at)
    for a, b in zip(jax.tree.leaves((whole.loss, whole.params)), jax.tree.leaves((cut.loss, cut.params)), strict=True):
        # Lanes computed beside others or alone may be summed in another order by the compiler, no more.
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_memory_stays_within_the_budget():
    drive._cuts.clear()
    task = osc.task("airfoil-mlp", batch=None)
    work = drive.Drive(
        jax.tree.map(lambda x: np.asarray([x]), osc.Adam()), 1, drive.cast(task, "float64"), np.arange(4000), 10, 1
    )
    cut = work._cut()
    assert work._held(cut) * drive.cores() <= drive.BUDGET
    assert cut.wide < 4000  # 4000 seeds × 1500 rows × 32 units would not fit


@pytest.mark.parametrize(
    ("steps", "every", "most"), [(10, 1, 10), (10, 1, 3), (10, 3, 10), (10, 3, 2), (7, 7, 2), (1, 1, 1), (9, 4, 4)]
)
def test_cuts_cover_every_step_once_and_record_on_multiples(steps, every, most):
    pieces = list(drive.cuts(steps, every, most))
    covered = [k for start, blocks, length, _ in pieces for k in range(start, start + blocks * length)]
    assert covered == list(range(steps))
    assert all(blocks * length <= most for _, blocks, length, _ in pieces)
    recorded = [s + i * n for s, blocks, n, keeps in pieces if keeps for i in range(blocks)]
    assert recorded == list(range(0, steps, every))


def test_records_every_so_often_and_at_the_end():
    fine = osc.run(osc.Adam(), ROSENBROCK, steps=10, seeds=3, dtype="float64", record=["params"])
    coarse = osc.run(osc.Adam(), ROSENBROCK, steps=10, seeds=3, dtype="float64", record=["params", "grads"], every=4)
    assert coarse.at.tolist() == [0, 4, 8, 10]
    np.testing.assert_allclose(coarse.loss, fine.loss[:, coarse.at], rtol=1e-13)
    np.testing.assert_allclose(coarse.params, fine.params[:, coarse.at], rtol=1e-13)
    assert coarse.grads.shape == (3, 3, 2)
    assert coarse.states is None


def test_a_run_that_breaks_is_flagged_with_its_step_and_the_others_go_on():
    # On x² with lr 10 each step multiplies x by −19: 19ᵏ x₀ squared leaves float32 once 19ᵏ |x₀| > 1.8447e19.
    task = osc.task("parabola")
    runs = osc.run(osc.GradientDescent(lr=10.0), task, steps=40, seeds=64, record=["params"])
    x0 = np.abs(runs.params[:, 0, 0].astype(float))
    expected = np.ceil(np.log(np.finfo(np.float32).max ** 0.5 / x0) / np.log(19))
    np.testing.assert_array_equal(runs.broke_at, expected)
    assert runs.diverged.all()
    assert np.isinf(runs.final).all()
    calm = osc.run(osc.GradientDescent(lr=0.1), task, steps=40, seeds=64)
    assert not calm.diverged.any()
    # Where one seed of many breaks, the rest are what they would have been.
    start = osc.run(osc.Momentum(lr=3e-3), ROSENBROCK, steps=100, seeds=256)
    assert 0 < start.diverged.sum() < 256
    fine = np.flatnonzero(~start.diverged)[:8]
    alone = osc.run(osc.Momentum(lr=3e-3), ROSENBROCK, steps=100, seeds=fine)
    np.testing.assert_allclose(start.loss[fine], alone.loss, rtol=1e-5)


def test_the_same_inputs_give_the_same_bits_and_rules_meet_the_same_start():
    one, again = (osc.run(osc.Adam(lr=0.01), osc.task("airfoil"), steps=50, seeds=8) for _ in range(2))
    assert (one.loss == again.loss).all()
    other = osc.run(osc.GradientDescent(), osc.task("airfoil"), steps=50, seeds=8)
    assert (one.loss[:, 0] == other.loss[:, 0]).all()


def test_a_rule_without_numbers_runs():
    @osc.rule
    class UnitStep(osc.Rule):
        """A step of length 0.01 against the gradient's sign."""

        name = "unit-step-of-test-run"

        def init(self, param, xp):
            return {}

        def update(self, grad, state, param, t, xp):
            return -0.01 * xp.sign(grad), {}

    runs = osc.run(UnitStep(), osc.task("bowl"), steps=5, seeds=2, start=[1.0, -1.0])
    np.testing.assert_allclose(runs.loss[:, -1], 2 * 0.95**2, rtol=1e-6)


def test_both_precisions_without_any_setting_of_jax():
    code = (
        "import optiscope as osc\n"
        "for dtype in ('float32', 'float64'):\n"
        "    runs = osc.run(osc.Adam(), osc.task('bowl'), steps=3, seeds=2, dtype=dtype, record=['params', 'states'])\n"
        "    print(runs.loss.dtype, runs.params.dtype, runs.states[0]['v'].dtype)\n"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain).stdout
    assert out.split() == ["float32"] * 3 + ["float64"] * 3


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"steps": 0}, "steps must be a whole number ≥ 1, not 0"),
        ({"steps": 2.5}, "steps must be a whole number ≥ 1, not 2.5"),
        ({"seeds": 0}, "at least one whole number"),
        ({"seeds": [1, -2]}, "at least one whole number"),
        ({"seeds": None}, "seeds must be a number of seeds or a list of them"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, not 'float16'"),
        ({"every": 0}, "every must be a whole number from 1 to 200"),
        ({"record": ["weights"]}, "record takes any of params, grads, states, steps, not 'weights'"),
        ({"start": [1.0]}, r"start must have the shape of the task's parameters, \(2,\), not"),
        ({"start": "here"}, "start must hold numbers"),
    ],
)
def test_bad_input(ask, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        osc.run(osc.Adam(), ROSENBROCK, **ask)
    with pytest.raises(osc.BadInput, match="a rule is wanted"):
        osc.run("adam", ROSENBROCK)
    with pytest.raises(osc.BadInput, match="a task is wanted"):
        osc.run(osc.Adam(), "rosenbrock")
