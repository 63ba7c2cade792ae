"""Solvers beside rules: named in texts, charged for what they call, compared and traced."""

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope import lab
from optiscope.errors import BadInput
from optiscope.solvers import BFGS, CG, LBFGS, LM, HagerZhang, least_squares, minimize, naming


def test_names_with_settings():
    assert naming.parse("BFGS") == BFGS()
    assert naming.parse("lbfgs:memory=20") == LBFGS(memory=20)
    assert naming.parse("cg:beta=pr+,search=hager-zhang") == CG("pr+", search=HagerZhang())
    assert naming.parse("lm:damping=nielsen,accelerate=true") == LM("nielsen", accelerate=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bgfs", "did you mean 'bfgs'?"),
        ("lbfgs:memroy=3", "did you mean 'memory'?"),
        ("lbfgs:memory=many", "memory is a whole number"),
        ("lbfgs:memory=3,memory=4", "sets memory twice"),
        ("lbfgs:memory", "name:setting=value"),
        ("lbfgs:memory=0", "whole number ≥ 1"),
        ("bfgs:search=wolfe", "the searches: strong-wolfe"),
        ("cg:beta=xx", "beta of CG"),
        ("lm:accelerate=maybe", "true or false"),
    ],
)
def test_bad_names(text, says):
    with pytest.raises(BadInput) as caught:
        naming.parse(text)
    assert says in str(caught.value)


def test_a_run_is_the_solvers_history_by_what_it_cost():
    task, start = osc.task("rosenbrock"), np.array([-1.5, 1.5])
    runs = lab.run_solver(BFGS(), task, steps=40, seeds=[3], dtype="float64", path=True, start=start)
    called = []

    def counted(x):
        jax.debug.callback(lambda: called.append(1))
        return task.function(x)

    alone = minimize(counted, start, history="path")
    # One call of the value and gradient a trial; what certifies the minimum comes after the last row.
    costs = alone.history.cost
    assert costs[0] == 1
    assert costs[-1] == alone.evaluations.function
    np.testing.assert_array_equal(runs.at, np.arange(41))
    for k in (0, 1, 2, 7, 20, 40):
        row = max(np.flatnonzero(costs <= k), default=0)
        # Compiled apart, the two differ in the last bits of every step.
        np.testing.assert_allclose(runs.loss[0, k], alone.history.value[row], rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(runs.params[0, k], alone.history.x[row], rtol=1e-6)
    assert len(called) == alone.evaluations.function + alone.evaluations.hvp + 1
    assert alone.cost == alone.evaluations.function + 2 * alone.evaluations.hvp + 1


def test_what_newton_and_a_jacobian_cost():
    task = osc.task("rosenbrock")
    s = minimize(task.function, np.array([-1.5, 1.5]), method="newton")
    e = s.evaluations
    assert s.cost == e.function + e.gradient + 2 * e.hvp - 1  # the first value came with its gradient
    s = least_squares(lambda b: b**2 - np.arange(3.0), np.ones(3))
    assert s.cost == s.evaluations.function - 1 + 3 * s.evaluations.jacobian


def test_solvers_meet_the_starts_of_rules():
    task = osc.task("airfoil", batch=None)
    found = osc.compare(["gd:lr=0.1", "lbfgs", "gauss-newton"], task, steps=40, seeds=4, dtype="float64")
    runs = {e.contender.label: e.runs for e in found.entries}
    np.testing.assert_allclose(runs["gauss-newton"].loss[:, 0], runs["gd:lr=0.1"].loss[:, 0], rtol=1e-12)
    # A linear model: one Gauss–Newton step is at the least-squares solution.
    np.testing.assert_allclose(runs["gauss-newton"].final, task.optimum, rtol=1e-9)
    np.testing.assert_allclose(runs["lbfgs"].final, task.optimum, rtol=1e-6)
    assert (runs["gd:lr=0.1"].final > 1.01 * task.optimum).all()


def test_a_loss_of_all_rows_costs_an_epoch():
    task = osc.task("airfoil", batch=500)
    runs = lab.run_solver(LBFGS(), task, steps=30, seeds=2)
    # Three batches an epoch: the loss changes at multiples of three alone.
    changed = np.flatnonzero(np.diff(runs.loss[0])) + 1
    assert len(changed) > 2
    assert (changed % 3 == 0).all()


def test_what_a_solver_cannot_run_on():
    with pytest.raises(BadInput, match="noise"):
        lab.run_solver(BFGS(), osc.task("rosenbrock", noise=0.1))
    with pytest.raises(BadInput, match="mean of squares"):
        lab.run_solver(LM(), osc.task("rosenbrock"))
    with pytest.raises(BadInput, match="shape of the task's parameters"):
        lab.run_solver(BFGS(), osc.task("rosenbrock"), start=np.ones(3))


def test_ways_of_solvers():
    ways = osc.walks(["momentum:lr=0.001", "bfgs"], osc.task("rosenbrock"), start=[-1.5, 1.5], steps=60)
    (_, rule), (contender, solver) = ways
    assert contender.label == "bfgs"
    assert solver.params.shape == rule.params.shape == (1, 61, 2)
    np.testing.assert_allclose(solver.params[0, -1], 1, atol=1e-6)


def test_a_budget_of_gradients():
    task = osc.task("rosenbrock")
    s = minimize(task.function, np.array([-1.5, 1.5]), method="newton", max_cost=30)
    assert s.status.name == "iterations"
    # The last step's trials, some of them refused, and what the point it leads to costs: a gradient and two products.
    refused = s.evaluations.function - s.evaluations.gradient
    assert 30 <= s.cost <= 30 + refused + 1 + 5
    with pytest.raises(BadInput, match="max_cost must be"):
        minimize(task.function, np.array([-1.5, 1.5]), max_cost=0)
