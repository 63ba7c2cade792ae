"""Sweeps: every cell is the run of its setting and seed."""

import numpy as np
import pytest

import optiscope as osc
from optiscope.lab import drive

RULES = [osc.Momentum(lr=lr, momentum=mu) for lr, mu in ((1e-4, 0.5), (1e-3, 0.9), (0.5, 0.99))]


@pytest.mark.parametrize("budget", [drive.BUDGET, 2_000])
@pytest.mark.parametrize(("name", "settings"), [("rosenbrock", {}), ("airfoil", {"batch": 500})])
def test_each_cell_is_a_run(monkeypatch, budget, name, settings):
    task = osc.task(name, **settings)
    monkeypatch.setattr(drive, "BUDGET", budget)
    swept = osc.sweep(osc.stack(RULES), task, steps=12, seeds=5, dtype="float64")
    for i, rule in enumerate(RULES):
        runs = osc.run(rule, task, steps=12, seeds=5, dtype="float64")
        np.testing.assert_allclose(swept.final[i], runs.final, rtol=1e-11)
        np.testing.assert_allclose(swept.first[i], runs.loss[:, 0], rtol=1e-13)
        np.testing.assert_array_equal(swept.broke_at[i], runs.broke_at)
        if name == "rosenbrock":  # on a full batch the mean is of the loss curve
            mean = np.where(runs.diverged, np.inf, runs.loss[:, :-1].mean(axis=1))
            np.testing.assert_allclose(swept.mean[i], mean, rtol=1e-11)


def test_a_broken_run_scores_infinity():
    swept = osc.sweep(osc.stack(RULES), osc.task("rosenbrock"), steps=200, seeds=16)
    assert np.isfinite(swept.final[0]).all()
    assert np.isinf(swept.final[2]).all()
    assert (swept.broke_at[2] > 0).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: osc.stack([osc.Adam(), osc.Momentum()]), "rules of one kind"),
        (lambda: osc.stack([osc.RMSProp(), osc.RMSProp(momentum=0.9)]), "rules of one kind"),
        (lambda: osc.sweep(osc.Adam(), osc.task("bowl")), "leaves all have one leading axis"),
        (lambda: osc.sweep(osc.Adam(lr=np.ones(3)), osc.task("bowl")), "leaves all have one leading axis"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        call()
