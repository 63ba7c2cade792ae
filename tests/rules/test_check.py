"""`osc.rules.check`: rules that keep what is asked of one pass, and each that does not is told what."""

import numpy as np
import pytest

import optiscope as osc
from optiscope.rules import LogUniform, Rule, hyper
from optiscope.values import value

OURS = [name for name in osc.rules.names() if type(osc.rule(name)).__module__.startswith("optiscope.")]
OTHERS = [
    osc.Scheduled(osc.WeightDecay(osc.Adam(), 0.1), lr=osc.Cosine(0.1, 40)),
    osc.ClipByNorm(osc.Adam()),
    osc.GRU.untrained(units=4),
    osc.load("small-fc-small-networks"),
]


@pytest.mark.parametrize("rule", [*map(osc.rule, OURS), *OTHERS], ids=lambda rule: rule.name)
def test_our_rules_keep_all_of_it(rule):
    osc.rules.check(rule)


def mine(update=lambda self, g, s, p, t, xp: (-self.lr * g, s), init=lambda self, p, xp: {"v": xp.zeros_like(p)}):
    """A rule of one's own, which keeps all of it as it stands."""

    @value
    class Mine(Rule):
        name = "mine"
        lr: float = hyper(0.1, LogUniform(1e-6, 1e1))

        def init(self, param, xp):
            return init(self, param, xp)

        def update(self, grad, state, param, t, xp):
            return update(self, grad, state, param, t, xp)

    return Mine()


def writes(self, g, s, p, t, xp):
    if xp is np:
        s["v"] += g
    return -self.lr * g, s


calls = []


def remembers(self, g, s, p, t, xp):
    calls.append(g)
    return -self.lr * len(calls) * g, s


def test_a_rule_of_ones_own_passes():
    osc.rules.check(mine())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"init": lambda self, p, xp: {"v": 0.0}}, "init that returns {'v': 0.0}; return a dict of arrays"),
        ({"init": lambda self, p, xp: {"v": xp.zeros((7,))}}, "begins with a 'v' of shape (7,); a state has the shape"),
        ({"update": lambda self, g, s, p, t, xp: -self.lr * g}, "update that returns ndarray; return the step and"),
        ({"update": lambda self, g, s, p, t, xp: (-self.lr * g, {})}, "returns a state of [] where init made ['v']"),
        ({"update": lambda self, g, s, p, t, xp: (-self.lr * xp.sum(g), s)}, "returns a step of shape () where (2, 3)"),
        ({"update": writes}, "writes to the v that it is given"),
        ({"update": remembers}, "answers the same call differently"),
        ({"update": lambda self, g, s, p, t, xp: (-g if self.lr > 1 else 0 * g, s)}, "fails in jax.numpy, in update"),
        ({"update": lambda self, g, s, p, t, xp: (-self.lr * np.tanh(g), s)}, "by TracerArrayConversionError"),
        ({"update": lambda self, g, s, p, t, xp: (-self.lr * xp.soft(g), s)}, "module 'numpy' has no attribute 'soft'"),
        (
            {"update": lambda self, g, s, p, t, xp: (-self.lr * (g if xp is np else 2 * g), s)},
            "steps otherwise in jax.numpy than in numpy",
        ),
        (
            {"update": lambda self, g, s, p, t, xp: (-self.lr * g / (1 + xp.sum(g * g)), s)},
            "has entries that depend on each other; declare elementwise = False",
        ),
        ({"update": lambda self, g, s, p, t, xp: (-self.lr * g - 0.01 * p, s)}, "moves the parameters with lr=0"),
    ],
)
def test_what_a_rule_does_not_keep_is_a_sentence(changed, sentence):
    with pytest.raises(osc.BadInput) as told:
        osc.rules.check(mine(**changed))
    assert str(told.value).startswith("the rule 'mine' ")
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_no_rule_is_refused():
    with pytest.raises(osc.BadInput, match=r"check takes a rule, such as osc\.Adam\(lr=1e-3\), not 'adam'"):
        osc.rules.check("adam")
