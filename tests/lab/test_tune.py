"""Tuning: it finds known best settings, distrusts lucky ones, and counts what it reports."""

import itertools

import numpy as np
import pytest

import optiscope as osc
from optiscope.lab.study import _best_after, _explained
from optiscope.lab.tune import CONFIRMATION_SEEDS, _edge, _extended, costly, fresh_seeds, rungs_of, runs_of
from optiscope.rules import LogUniform, OneMinusLogUniform, Uniform

QUADRATIC = osc.task("quadratic", spectrum=(0.1, 1.0))


def test_gradient_descents_best_rate_is_2_over_the_sum_of_the_extremes():
    # The rate of convergence on eigenvalues 0.1 and 1 is best, 9/11 a step, at lr = 2/1.1 = 1.818.
    # 0.8^200 is below what float32 can tell from 0 there.
    space = {"lr": LogUniform(0.5, 4.0)}
    study = osc.tune("gd", QUADRATIC, trials=400, seeds=32, steps=100, space=space, dtype="float64")
    assert study.best.lr == pytest.approx(2 / 1.1, rel=0.03)
    assert study.at_edge == ()
    assert study.best_score == study.confirmed.min()


def test_momentum_comes_near_heavy_balls_optimum():
    study = osc.tune("momentum", osc.task("quadratic", spectrum=(0.01, 1.0)), trials=1024, seeds=32, steps=100)
    best_rate = (1 - 0.1) / (1 + 0.1)  # √β* = (√λmax − √λmin) / (√λmax + √λmin)
    assert study.best.momentum**0.5 == pytest.approx(best_rate, abs=0.08)


def test_a_winner_at_the_edge_extends_the_space_and_is_flagged_when_it_cannot():
    study = osc.tune("gd", QUADRATIC, trials=64, seeds=8, steps=50, space={"lr": LogUniform(1e-4, 1e-2)})
    assert study.space["lr"].high == pytest.approx(1e-2 * 100 * 100)  # 1 was an edge too
    assert study.searches == 3
    assert study.best.lr > 0.5
    stuck = osc.tune(
        "momentum:lr=0.01", QUADRATIC, trials=64, seeds=8, steps=50, space={"dampening": Uniform(0.0, 1.0)}
    )
    assert stuck.at_edge == ("dampening",)


def test_given_fields_stay_and_absent_ones_are_not_searched():
    study = osc.tune("adam:b1=0.5", QUADRATIC, trials=16, seeds=4, steps=10)
    assert list(study.settings) == ["lr", "b2", "eps"]
    assert study.best.b1 == 0.5
    assert study.best.eps_root is None


def test_the_table_has_a_row_a_trial_and_the_leaders_confirmed():
    study = osc.tune("momentum", QUADRATIC, trials=50, seeds=4, steps=20)
    rows = study.trials
    assert len(rows) == 50
    assert sum(np.isfinite(row["confirmed"]) for row in rows) <= 20
    assert sum(not np.isnan(row["confirmed"]) for row in rows) == 20
    best = min(rows, key=lambda row: np.nan_to_num(row["confirmed"], nan=np.inf))
    assert best["lr"] == pytest.approx(study.best.lr)
    again = osc.tune("momentum", QUADRATIC, trials=50, seeds=4, steps=20)
    assert again.best == study.best


def test_the_mean_score_is_the_curves_mean_over_its_first_value():
    study = osc.tune("gd", QUADRATIC, trials=4, seeds=8, steps=30, score="mean", space={"lr": LogUniform(0.1, 1.0)})
    seeds = range(CONFIRMATION_SEEDS, CONFIRMATION_SEEDS + 8)
    runs = osc.run(study.best, QUADRATIC, steps=30, seeds=seeds)
    expected = (runs.loss[:, :-1].mean(axis=1) / runs.loss[:, 0]).mean()
    assert study.best_score == pytest.approx(float(expected), rel=1e-5)


def test_the_best_after_k_trials_against_all_subsets():
    scores = np.array([1.0, 2, 3, 5, 8, 13, np.inf, np.inf])
    found = _best_after(scores)
    for k in range(1, 9):
        minima = np.sort([min(s) for s in itertools.combinations(scores, k)])
        for column, q in enumerate((0.5, 0.025, 0.975)):
            # The least value whose distribution function reaches q.
            expected = minima[int(np.ceil(q * len(minima) - 1e-9)) - 1]
            assert found[k - 1, column] == expected


def test_importance_is_the_share_of_variance_a_field_explains_alone():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2, 20_000))
    # Var(x) = 1/12 and Var(0.5 y) = 1/48 of a total of 5/48; ten bins lose 1 % of each.
    assert _explained(x, x + 0.5 * y) == pytest.approx(0.8 * 0.99, abs=0.01)
    assert _explained(y, x + 0.5 * y) == pytest.approx(0.2 * 0.99, abs=0.01)
    assert _explained(x, np.ones(20_000)) == 0


def test_beta_spaces_extend_towards_one_alone():
    space = OneMinusLogUniform(1e-3, 1.0)
    assert _edge(space, 0.9989) == "high"
    assert _extended(space, "high") == OneMinusLogUniform(1e-5, 1.0)
    assert _edge(space, 0.001) == "low"
    assert _extended(space, "low") is None


def test_the_picture_has_a_panel_a_field_and_one_for_the_trials():
    study = osc.tune("momentum", QUADRATIC, trials=32, seeds=4, steps=20)
    drawn = osc.figure(study)
    assert [axes.get_xlabel().split()[0] for axes in drawn.axes if axes.get_visible()] == ["lr", "momentum", "random"]


def test_halving_runs_few_settings_on_all_seeds_and_finds_as_good_a_one():
    ask = {"trials": 400, "seeds": 64, "steps": 60, "score": "mean"}
    whole = osc.tune("momentum", QUADRATIC, **ask)
    halved = osc.tune("momentum", QUADRATIC, **ask, halving=True)
    assert rungs_of(2500, 128, True) == [(2500, 2), (625, 8), (157, 32), (40, 128)]
    assert rungs_of(200, 64, True) == [(200, 16), (50, 64)]
    assert np.bincount(halved.seen).nonzero()[0].tolist() == [16, 64]
    assert (halved.seen == 64).sum() == 100
    assert runs_of(400, 64, True) == 2 * (200 * 16 + 50 * 48) + 20 * 64
    assert (halved.seen[halved.leaders] == 64).all()
    assert halved.best_score <= 1.02 * whole.best_score
    full = halved.seen[: halved.broad] == 64
    np.testing.assert_allclose(halved.scores[:200][full], whole.scores[:200][full], rtol=1e-4)


def test_a_search_is_halved_by_default_where_it_is_long(monkeypatch):
    ask = {"trials": 100, "seeds": 8, "steps": 5}
    assert not osc.tune("gd", QUADRATIC, **ask).halved
    monkeypatch.setitem(costly.__globals__, "COSTLY", 1e3)
    assert osc.tune("gd", QUADRATIC, **ask).halved
    assert not osc.tune("gd", QUADRATIC, **ask, halving=False).halved
    compared = osc.compare(["gd", "momentum"], QUADRATIC, tune=100, tuning_seeds=8, steps=5, seeds=8)
    assert all(row["halved"] for row in compared.table)


def test_an_interrupted_study_ends_as_it_would_have(tmp_path):
    ask = {"trials": 60, "seeds": 8, "steps": 20}
    whole = osc.tune("momentum", QUADRATIC, **ask)

    def stop(label, doing, share):
        if doing == "confirming":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        osc.tune("momentum", QUADRATIC, **ask, store=tmp_path / "runs.sqlite", progress=stop)
    shares = []
    resumed = osc.tune(
        "momentum", QUADRATIC, **ask, store=tmp_path / "runs.sqlite", progress=lambda *told: shares.append(told[2])
    )
    assert resumed.best == whole.best
    assert resumed.best_score == whole.best_score
    np.testing.assert_array_equal(resumed.scores, whole.scores)
    np.testing.assert_array_equal(resumed.confirmed, whole.confirmed)
    assert min(shares) >= 0
    assert max(shares) == pytest.approx(1)


def test_the_leaders_run_on_as_many_fresh_seeds_as_a_tenth_of_the_search_pays_for():
    assert fresh_seeds(100, 32) == 32
    assert fresh_seeds(2500, 128) == 12 * 128
    assert runs_of(2500, 128) == 2500 * 128 + 20 * 12 * 128
    # Each half: all 1250 on 2 seeds, the best quarter on 6 more, and so on until 20 have run on all.
    assert runs_of(2500, 128, halving=True) == 2 * (1250 * 2 + 313 * 6 + 79 * 24 + 20 * 96) + 20 * 128
    study = osc.tune("gd", QUADRATIC, trials=400, seeds=2, steps=3)
    assert study.fresh == 4


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"rule": "admm"}, "unknown rule 'admm'"),
        ({"rule": 3}, "a rule is wanted"),
        ({"trials": 0}, "trials must be a whole number ≥ 1, not 0"),
        ({"seeds": 2.5}, "seeds must be a whole number ≥ 1, not 2.5"),
        ({"score": "best"}, "score must be one of final, mean, not 'best'"),
        ({"space": {"lrr": LogUniform(1e-3, 1.0)}}, "unknown hyperparameter of gd 'lrr'; did you mean 'lr'"),
        ({"space": {"lr": (0, 1)}}, "lr needs a space"),
        ({"rule": "gd:lr=1"}, "gd has no field left to tune"),
        ({"space": {"lr": LogUniform(1e5, 1e6)}}, "no setting of gd ran on all seeds of quadratic without diverging"),
    ],
)
def test_bad_input(ask, sentence):
    given = {"rule": "gd", "trials": 8, "seeds": 4, "steps": 60, **ask}
    with pytest.raises(osc.BadInput, match=sentence):
        osc.tune(given.pop("rule"), QUADRATIC, **given)
