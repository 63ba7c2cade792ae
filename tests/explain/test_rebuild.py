"""The rule made of mechanisms, and the test of an explanation by rebuilding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import optiscope as osc
from optiscope.explain import Proof, prove, rebuild
from optiscope.frameworks.numpy import iterate
from optiscope.rules import Mechanisms

WHOLE = Mechanisms(
    betas=np.array([0.9, 0.5]),
    alphas=np.array([0.05, 0.02]),
    limit=np.array([2.0, 0.5]),
    longest=0.3,
    times=np.array([10.0]),
    timed=np.array([[[0.5], [0.2]], [[0.0], [-0.3]], [[0.1], [0.0]]]),
    memories=np.array([0.6, 0.95]),
    size=0.7,
    sized=np.array([[[0.1, -0.2, 0.05], [0.0, -0.5, 0.0]], [[0.1, 0.0, -0.1], [0.0, 0.2, 0.0]], np.zeros((2, 3))]),
    slope=0.5,
    reach=np.array([0.1, 0.4]),
    felt=np.linspace(-0.5, 0.4, 24).reshape(3, 2, 4),
)
HESSIAN = np.array([1.0, 0.1])


def way(rule, steps=40):
    found = iterate(lambda x: HESSIAN * x, np.array([1.0, -2.0]), rule)
    return np.array([next(found).x_next for _ in range(steps)])


def test_with_nothing_but_terms_it_is_momentum():
    np.testing.assert_allclose(
        way(Mechanisms(betas=np.array([0.9]), alphas=np.array([0.1]))),
        way(osc.Momentum(lr=0.1, momentum=0.9)),
        rtol=1e-12,
    )


def test_with_a_power_of_the_size_it_is_rmsprop_of_one_plus_v():
    # (1 + v̂)^−½ is RMSProp's root with the constant 1 inside.
    ours = Mechanisms(
        alphas=np.array([0.1]), memories=np.array([0.9]), size=1.0, sized=np.array([[[-0.5, 0.0]], [[0, 0]], [[0, 0]]])
    )
    theirs = osc.RMSProp(lr=0.1, rho=0.9, eps=1.0, eps_at="inside root", corrected=True)
    np.testing.assert_allclose(way(ours), way(theirs), rtol=1e-12)


def test_momentum_that_opposition_empties_is_restarted():
    # At t = 2 the gradient opposes the momentum, which is forgotten; at t = 3 it is kept whole.
    rule = Mechanisms(
        alphas=np.array([1.0]), betas=np.array([0.9]), slope=1e-9, reach=np.array([1e-9]),
        felt=np.array([[[0.0, 0.0]], [[60.0, 0.0]], [[0.0, 0.0]]]),
    )  # fmt: skip
    state, steps = rule.init(np.zeros(()), np), []
    for t, g in enumerate([1.0, -1.0, -1.0], 1):
        step, state = rule.update(np.asarray(g), state, 0.0, t, np)
        steps.append(float(step))
    np.testing.assert_allclose(steps, [-1.0, 1.0, 2.0])


def test_it_takes_the_same_way_in_every_namespace():
    expected = way(WHOLE, 20)
    for xp, array in ((jnp, jnp.asarray), (torch, lambda x: torch.tensor(np.asarray(x), dtype=torch.float64))):
        rule = jax.tree.map(lambda leaf: array(leaf), WHOLE)  # noqa: B023
        x, h = array([1.0, -2.0]), array(HESSIAN)
        state = rule.init(x, xp)
        for t in range(1, 21):
            step, state = rule.update(h * x, state, x, array(float(t)), xp)
            x = x + step
            np.testing.assert_allclose(np.asarray(x), expected[t - 1], rtol=1e-10)


def test_it_is_saved_and_loaded(tmp_path):
    osc.save(WHOLE, tmp_path / "rule.safetensors")
    np.testing.assert_array_equal(way(osc.load(tmp_path / "rule.safetensors")), way(WHOLE))


@pytest.fixture(scope="module")
def explained():
    rule = osc.ClipByValue(osc.Scheduled(osc.Momentum(momentum=0.8), lr=osc.Exponential(0.5, 0.5, 60)), 1.0)
    return osc.explain(rule, osc.task("quadratic"))


def test_a_rule_rebuilt_by_its_explanation_does_as_well_on_unseen_problems(explained, monkeypatch):
    monkeypatch.setattr(rebuild, "PROBLEMS", 16)
    made = rebuild.rebuilt(explained, rounds=1)
    scores = [osc.sweep(osc.stack([r]), explained.task, seeds=64) for r in (explained.rule, made)]
    original, ours = (float((s.mean / s.first).mean()) for s in scores)
    assert abs(ours / original - 1) < 0.1


def test_a_mechanism_left_out_stays_out_and_the_others_stay_in(explained, monkeypatch):
    monkeypatch.setattr(rebuild, "PROBLEMS", 4)
    monkeypatch.setattr(rebuild, "TRIES", 4)
    made = rebuild.rebuilt(explained, "momentum", rounds=0)
    assert made.betas is None
    others = {field for m, fields in rebuild.MECHANISMS.items() for field in fields if m != "momentum"}
    assert all(getattr(made, field) is not None for field in others)


TUNED = {  # with 2,500 settings, for the score below
    "quadratic": osc.Momentum(lr=3.530, momentum=0.8843),
    "rosenbrock": osc.Adam(lr=0.0429, b1=0.747, b2=0.743),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", TUNED)
def test_most_of_what_a_learned_rule_gains_is_explained(family):
    found = osc.explain(osc.load(f"gru-{family}"), osc.task(family))
    proof = prove(found, baselines={"tuned": TUNED[family]}, without=(), seeds=1024)
    assert proof.share()[1] > 0.5


def test_a_share_is_of_the_gain_over_the_best_baseline():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, 500)
    scores = {
        "original": 0.2 + noise,
        "momentum": 0.6 + noise,
        "adam": 0.5 + noise,
        "rebuilt": 0.275 + noise,
        "without clipping": 0.35 + noise,
        "without schedule": np.where(np.arange(500) == 3, np.inf, 0.3),
    }
    proof = Proof({}, scores, ("momentum", "adam"))
    assert proof.best == "adam"
    assert proof.share() == pytest.approx((0.75, 0.75, 0.75))  # on the same problems the noise cancels
    assert proof.share("without schedule")[0] == -np.inf
    assert "recovers 75% [75%, 75%] of the gain over adam tuned" in proof.sentence
    assert "multiplies its score: clipping 1.3, schedule inf" in proof.sentence
    assert proof.cost("without clipping")[0] == pytest.approx(0.35 / 0.275, rel=1e-2)
    assert [row["rule"] for row in proof.table if row["diverged"]] == ["without schedule"]


def test_without_a_gain_there_is_nothing_to_share():
    scores = {"original": np.full(9, 0.5), "adam": np.full(9, 0.4), "rebuilt": np.full(9, 0.45)}
    assert "no gain" in Proof({}, scores, ("adam",)).sentence


def test_bad_input(explained):
    with pytest.raises(osc.BadInput, match="an explanation is wanted"):
        prove(osc.Adam())
    with pytest.raises(osc.BadInput, match="unknown mechanism 'clip'"):
        prove(explained, without=["clip"])
