"""The contract: names, fields and what they refuse, rules as values and as pytrees, what an import costs."""

import copy
import dataclasses
import subprocess
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc
from optiscope import BadInput, rules
from optiscope.rules import LogUniform, OneMinusLogUniform, Rule, Uniform, contract, hyper, variant

ALL = {name: type(osc.rule(name)) for name in rules.names()}
NESTED = osc.Scheduled(
    osc.WeightDecay(osc.ClipByValue(osc.Adam()), 0.1), lr=osc.Cosine(0.1, 40.0), b1=osc.Constant(0.5)
)
SCHEDULES = [
    osc.Piecewise((10.0,), (0.1, 0.05)),
    osc.LinearWarmup(0.1, 10.0, then=osc.InverseSqrt(0.1)),
    osc.Chained((osc.Constant(0.1), osc.Cosine(0.1, 20.0)), (30.0,)),
]
VALUES = [*(cls() for cls in ALL.values()), NESTED, osc.ClipByNorm(osc.Lion(weight_decay=0.1)), *SCHEDULES]

every_class = pytest.mark.parametrize("cls", ALL.values(), ids=ALL)
every_value = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


@pytest.fixture
def registry(monkeypatch):
    """A registry that forgets what the test declares."""
    monkeypatch.setattr(contract, "_registry", dict(contract._registry))
    return contract._registry


def declare(title, base=Rule, **body):
    return osc.rule(type(title, (base,), {"init": lambda *_: {}, "update": lambda self, g, s, *_: (-g, s), **body}))


@every_class
def test_a_rule_is_made_by_its_name_and_its_aliases(cls):
    for name in (cls.name, cls.name.upper(), *cls.aliases):
        assert osc.rule(name) == cls()


def test_aliases_are_not_listed_twice():
    assert osc.rule("sgd") == osc.GradientDescent()
    assert "sgd" not in rules.names()
    assert rules.names() == sorted(rules.names())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: osc.rule("admm"), "unknown rule 'admm'; did you mean 'adam'? see 'optiscope rules'"),
        (lambda: osc.rule("xyzzy"), "unknown rule 'xyzzy'; see 'optiscope rules'"),
        (
            lambda: osc.rule("momentum", momentun=0.5),
            "unknown field of momentum 'momentun'; did you mean 'momentum'? see 'optiscope rules momentum'",
        ),
        (
            lambda: osc.Adam.preset("torch", epz=1.0),
            "unknown field of adam 'epz'; did you mean 'eps'? see 'optiscope rules adam'",
        ),
        (
            lambda: osc.Adam().replace(lrr=0.1),
            "unknown field of adam 'lrr'; did you mean 'lr'? see 'optiscope rules adam'",
        ),
        (
            lambda: NESTED.replace(epz=0.1),
            "unknown field of adam 'epz'; did you mean 'eps'? see 'optiscope rules adam'",
        ),
        (
            lambda: osc.Scheduled(osc.Adam(), lrr=osc.Constant(0.1)),
            "unknown hyperparameter of adam 'lrr'; did you mean 'lr'? see 'optiscope rules'",
        ),
    ],
)
def test_the_nearest_name_is_proposed(make, sentence):
    with pytest.raises(BadInput) as error:
        make()
    assert str(error.value) == sentence


def test_a_declared_rule_is_found_at_once(registry):
    cls = declare("Fresh", aliases=("brandnew",))
    assert "fresh" in rules.names()
    assert osc.rule("fresh") == osc.rule("BrandNew") == cls()


def test_a_rule_that_needs_something_is_not_listed(registry):
    before = dict(registry)
    declare("Needy", __annotations__={"size": int})
    assert registry == before


@pytest.mark.parametrize("body", [{"name": "adam"}, {"name": "sgd"}, {"aliases": ("lion",)}])
def test_a_name_that_is_taken_is_refused_and_nothing_is_registered(registry, body):
    before = dict(registry)
    with pytest.raises(BadInput, match=r"^the rule name '(adam|sgd|lion)' is taken by optiscope\.rules\.\w+\.\w+; "):
        declare("Newcomer", **body)
    assert registry == before


def test_a_class_of_the_same_name_elsewhere_takes_nobodys_place(registry):
    with pytest.raises(BadInput, match=r"'adam' is taken by optiscope\.rules\.adaptive\.Adam"):
        declare("Adam")


def test_the_same_class_declared_again_takes_its_own_place(registry):
    assert declare("Again") is not declare("Again")
    assert osc.rule("again") == registry["again"]()


def test_a_name_is_found_however_it_is_spelt(registry):
    cls = declare("Capital", name="Capital", aliases=("CAP",))
    assert osc.rule("Capital") == osc.rule("cap") == cls()
    assert "capital" in rules.names()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: osc.rule(type("Rootless", (), {})), "a class that inherits from osc.Rule, not <class .*Rootless"),
        (lambda: osc.rule(osc.Adam()), "a rule is a name, such as 'adam', or a class"),
        (lambda: declare("Half", update=Rule.update), "the rule 'half' lacks update"),
        (
            lambda: declare("Spelt", aliases="sp"),
            r"the rule 'spelt' has aliases='sp'; write a tuple of names, \('sp',\)",
        ),
        (
            lambda: declare("Fast", __annotations__={"b": float}, b=hyper(2.0, OneMinusLogUniform(1e-3, 1.0))),
            r"fast: b must be a number in \[0, 1\), not 2.0",
        ),
        (lambda: hyper(0.1, (1e-3, 1.0)), r"needs a search space, such as LogUniform.*, not \(0.001, 1.0\)"),
    ],
)
def test_a_declaration_that_makes_no_rule_is_refused_and_nothing_is_registered(registry, make, sentence):
    before = dict(registry)
    with pytest.raises(BadInput, match=sentence):
        make()
    assert registry == before


def test_a_heir_inherits_fields_but_no_alias(registry):
    heir = declare("Heir", osc.GradientDescent)
    assert osc.rule("heir", lr=0.5) == heir(0.5)
    assert type(osc.rule("sgd")) is osc.GradientDescent


@every_class
def test_every_number_has_a_space_whose_draws_are_valid(cls):
    """And every field is either such a number or a variant."""
    assert {f.name for f in dataclasses.fields(cls)} == {*cls.hypers(), *cls.variants()}
    for name, space in cls.hypers().items():
        for u in np.linspace(0, 1, 101):
            cls(**{name: space.quantile(u)})


@every_class
def test_what_is_no_number_or_outside_its_meaning_is_refused(cls):
    optional = {f.name for f in dataclasses.fields(cls) if f.metadata.get("optional")}
    for name, space in cls.hypers().items():
        for bad in (-0.1, float("nan"), float("inf"), -float("inf"), np.float32("nan")):
            with pytest.raises(BadInput, match=rf"^{cls.name}: {name} must be a .*number .*, not .*{bad}"):
                cls(**{name: bad})
        for bad in ("0.1", True, [0.1], 1j, *([None] if name not in optional else [])):
            with pytest.raises(BadInput) as error:
                cls(**{name: bad})
            assert str(error.value) == f"{cls.name}: {name} must be a number, not {bad!r}"
        if type(space) is OneMinusLogUniform:
            with pytest.raises(BadInput, match=r"must be a number in \[0, 1\), not 1"):
                cls(**{name: 1})
        edge = space.low if type(space) is Uniform else 0.0
        assert getattr(cls(**{name: edge}), name) == edge


@every_class
def test_an_unknown_variant_is_refused_with_the_choices(cls):
    for name, choices in cls.variants().items():
        with pytest.raises(BadInput) as error:
            cls(**{name: "sideways"})
        listed = ", ".join(map(repr, choices))
        assert str(error.value) == f"{cls.name}: {name} must be one of {listed}, not 'sideways'"
        assert getattr(cls(), name) == choices[0]


def test_a_number_becomes_a_float_and_an_array_stays():
    for lr in (1, np.int64(1), np.float32(1), np.float64(1), Fraction(1)):
        assert type(osc.Adam(lr=lr).lr) is float
        assert osc.Adam(lr=lr) == osc.Adam(lr=1.0)
    for lr in (jnp.asarray(-1.0), np.asarray([0.1, 0.2])):
        assert osc.Adam(lr=lr).lr is lr


def test_a_term_that_is_optional_may_be_absent():
    assert osc.Nadam(psi=None).psi is None
    assert osc.RMSProp(momentum=None).momentum is None


def test_terms_that_exclude_each_other():
    with pytest.raises(BadInput, match="average=True is dampening equal to momentum; give one of the two"):
        osc.Momentum(average=True, dampening=0.9)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: osc.ClipByValue(0.1), r"clipbyvalue wraps a rule, such as osc.Adam\(\); it was given 0.1"),
        (lambda: osc.L2(osc.Adam), "l2 wraps a rule"),
        (lambda: osc.ClipByNorm(osc.Adam(), -1.0), "clipbynorm: limit must be a finite number ≥ 0, not -1.0"),
        (
            lambda: osc.Scheduled(osc.L2(osc.Scheduled(osc.Adam(), lr=osc.Constant(0.1)), 0.1), lr=osc.Constant(0.2)),
            "scheduled: lr follows a schedule further inside",
        ),
        (lambda: osc.Scheduled(osc.Adam(), lr=0.1), "scheduled: lr needs a schedule, such as Constant.*not 0.1"),
        (lambda: osc.WeightDecay(osc.Scheduled(osc.Adam(), lr=osc.Constant(0.1))), "put Scheduled outside"),
        (lambda: osc.WeightDecay(osc.Annealed(osc.Adam(), 10)), r"put Annealed outside: Annealed\(WeightDecay"),
        (lambda: osc.Scheduled(osc.Adam(), osc.Constant(0.1)), r"which field follows Constant.* Scheduled\(rule, lr="),
        (lambda: osc.Adam(lr=10**400), "adam: lr must be a finite number ≥ 0, not 10000"),
        (lambda: osc.Constant(10**400), "Constant: initial must be a number, not 10000"),
        (lambda: osc.Cosine(0.1, 0), "Cosine: steps must be > 0, not 0"),
        (lambda: osc.Constant(float("nan")), "Constant: initial must be a number, not nan"),
        (lambda: osc.Piecewise((1.0,), (0.1,)), "Piecewise needs one value more than boundaries, not 1 values"),
        (lambda: osc.Chained((osc.Constant(1.0),), (5.0,)), "Chained needs one schedule more than boundaries"),
    ],
)
def test_wrappers_and_schedules_refuse(make, sentence):
    with pytest.raises(BadInput, match=sentence):
        make()


@every_class
def test_a_preset_is_the_frameworks_setting_with_ones_own_on_top(cls):
    assert {*cls.presets} <= {"torch", "optax", "keras"}
    for framework, fields in cls.presets.items():
        assert cls.preset(framework) == cls(**fields)
        assert cls.preset(framework, lr=0.123) == cls(**{**fields, "lr": 0.123})


@every_class
def test_slots_name_the_state(cls):
    """The state of some setting has each slot, and no setting has a state without one."""
    full = {name: 0.5 for name in cls.hypers() if getattr(cls, name) is None and name != "dampening"}
    rule = cls(**full, **{name: True for name in cls.variants() if name == "centered"})
    assert {*rule.init(np.ones(2), np)} == {*cls.slots}
    assert all(len(names) == 3 for names in cls.slots.values())


def test_preset_errors():
    with pytest.raises(BadInput, match=r"^sign has no preset 'torch'; it has: optax$"):
        osc.SignDescent.preset("torch")
    with pytest.raises(BadInput, match="adam: lr must be a finite number ≥ 0, not -1"):
        osc.Adam.preset("keras", lr=-1)


def test_a_rule_without_presets_says_so(registry):
    with pytest.raises(BadInput, match=r"^plain has no preset 'torch'; it has: none$"):
        declare("Plain").preset("torch")


def test_replace_finds_the_field_where_it_is():
    new = NESTED.replace(eps=1e-3, limit=0.5, weight_decay=0.2)
    held = osc.WeightDecay(osc.ClipByValue(osc.Adam(eps=1e-3), limit=0.5), 0.2)
    assert new == osc.Scheduled(held, **NESTED.schedules)
    assert NESTED.rule.weight_decay == 0.1


def test_replace_takes_the_outermost_of_two():
    rule = osc.WeightDecay(osc.AdamW()).replace(weight_decay=0.5)
    assert (rule.weight_decay, rule.rule.weight_decay) == (0.5, osc.AdamW().weight_decay)


def test_replace_checks():
    with pytest.raises(BadInput, match="adam: b1 must be a number in"):
        NESTED.replace(b1=1.5)


def test_weight_decay_uses_the_lr_inside():
    step, _ = osc.WeightDecay(osc.ClipByValue(osc.GradientDescent(lr=0.1)), 0.5).update(0.0, {}, 4.0, 1, np)
    assert step == pytest.approx(-0.1 * 0.5 * 4.0)


@every_value
def test_frozen(value):
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 0.5)


@every_value
def test_equal_and_hashable(value):
    other = copy.deepcopy(value)
    assert other is not value
    assert other == value
    assert len({value, other}) == 1
    assert all(value != each for each in VALUES if each is not value)


@every_value
def test_repr_makes_it_again(value):
    assert eval(repr(value), vars(rules)) == value


@every_value
def test_pytree_of_its_numbers(value):
    leaves, tree = jax.tree.flatten(value)
    assert leaves
    assert all(isinstance(leaf, float) for leaf in leaves)
    assert tree.unflatten(leaves) == value
    assert tree == jax.tree.structure(jax.tree.map(lambda leaf: leaf * 0.5, value))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, value)  # past any validation: a batch or a tracer passes too
    assert jax.tree.leaves(doubled) == [2 * leaf for leaf in leaves]


@every_class
def test_the_leaves_of_a_rule_are_its_hyperparameters(cls):
    assert jax.tree.leaves(cls()) == [getattr(cls(), name) for name in cls.hypers() if getattr(cls(), name) is not None]


def test_leaves_are_called_by_their_fields():
    paths, _ = jax.tree_util.tree_flatten_with_path(osc.ClipByNorm(osc.Momentum()))
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [".rule.lr", ".rule.momentum", ".limit"]


def test_variants_are_part_of_the_type():
    assert jax.tree.structure(osc.Adam()) != jax.tree.structure(osc.Adam(eps_on="raw v"))
    assert jax.tree.structure(osc.Adam()) != jax.tree.structure(osc.Adam(eps_root=0.1))


SPACES = [Uniform(-1.0, 3.0), LogUniform(1e-4, 10.0), OneMinusLogUniform(1e-3, 1.0)]


@pytest.mark.parametrize(
    ("space", "quarters"),
    [
        (Uniform(-1.0, 3.0), [-1, 0, 1, 2, 3]),
        (LogUniform(1e-4, 1.0), [1e-4, 1e-3, 1e-2, 1e-1, 1]),
        (OneMinusLogUniform(1e-4, 1.0), [0, 0.9, 0.99, 0.999, 0.9999]),
    ],
)
def test_quantiles(space, quarters):
    np.testing.assert_allclose(space.quantile(np.linspace(0, 1, 5)), quarters, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("space", "valid", "invalid", "wanted"),
    [
        (Uniform(-1.0, 3.0), [-1, 0, 3], [-1.1, 3.1, np.nan, np.inf], "a number in [-1, 3]"),
        (LogUniform(1e-4, 1.0), [0, 1e-9, 1e9], [-1e-9, np.nan, np.inf], "a finite number ≥ 0"),
        (OneMinusLogUniform(1e-4, 1.0), [0, 1 - 1e-9], [-1e-9, 1, np.nan], "a number in [0, 1)"),
    ],
)
def test_refusal_is_of_what_has_no_meaning(space, valid, invalid, wanted):
    assert [space.refusal(x) for x in valid] == [None] * len(valid)
    assert [space.refusal(x) for x in invalid] == [wanted] * len(invalid)


@pytest.mark.parametrize("space", [Uniform, LogUniform, OneMinusLogUniform])
def test_bounds(space):
    for low, high in [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (1.0, np.inf)]:
        with pytest.raises(BadInput, match="a search space needs finite bounds, low < high, not"):
            space(low, high)


@pytest.mark.parametrize("space", [LogUniform, OneMinusLogUniform])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_logarithm_needs_a_positive_low_bound(space, low):
    with pytest.raises(BadInput, match=f"a log-uniform space needs a positive low bound, not {low}"):
        space(low, 1.0)


def test_a_new_rule_takes_a_class_and_a_decorator(registry):
    """The one in the contract's own docstring, with a variant."""

    @osc.rule
    class Heavy(Rule):
        lr: float = hyper(0.1, LogUniform(1e-6, 1e1))
        sign: str = variant("down", "up")

        def init(self, param, xp):
            return {"v": xp.zeros_like(param)}

        def update(self, grad, state, param, t, xp):
            v = 0.9 * state["v"] + grad
            return (-self.lr if self.sign == "down" else self.lr) * v, {"v": v}

    assert Heavy.hypers() == {"lr": LogUniform(1e-6, 1e1)}
    assert Heavy.variants() == {"sign": ("down", "up")}
    step, state = osc.rule("heavy", sign="up").update(np.ones(2), {"v": np.ones(2)}, np.zeros(2), 1, np)
    np.testing.assert_allclose(step, 0.19)
    np.testing.assert_allclose(state["v"], 1.9)


ROUND_TRIP = """
rule = osc.Scheduled(osc.ClipByNorm(osc.Adam(lr=0.25)), b1=osc.Cosine(0.5, 8.0))
leaves, tree = jax.tree.flatten(rule)
assert 0.25 in leaves and 8.0 in leaves, leaves
assert tree.unflatten(leaves) == rule
"""


@pytest.mark.parametrize(
    "program",
    [
        "import jax, optiscope as osc" + ROUND_TRIP,
        "import optiscope as osc; osc.Adam(); import jax" + ROUND_TRIP,
        """
import sys, optiscope as osc
assert "numpy" not in sys.modules, "import optiscope alone costs nothing"
import numpy as np
from optiscope.frameworks.numpy import iterate, minimize
rule = osc.Scheduled(osc.WeightDecay(osc.ClipByNorm(osc.Adam())), lr=osc.Cosine(0.1, 50))
done = minimize(lambda x: x @ x, lambda x: 2 * x, np.ones(3), rule, steps=50)
assert done.value < 0.1, done
heavy = {"jax", "jaxlib", "torch", "keras", "optax", "scipy", "matplotlib"} & sys.modules.keys()
assert not heavy, heavy
""",
    ],
    ids=["jax first", "jax after", "numpy alone"],
)
def test_in_a_fresh_interpreter(program):
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
