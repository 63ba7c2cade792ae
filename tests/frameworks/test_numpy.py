"""The NumPy front: `iterate` and `minimize` over arrays and structures of arrays."""

import collections
from itertools import islice

import numpy as np
import pytest

import optiscope as osc
from optiscope import BadInput
from optiscope.frameworks.numpy import iterate, minimize

RULES = [osc.GradientDescent(lr=0.1), osc.Adam(lr=0.1), osc.Nadam(), osc.WeightDecay(osc.ClipByNorm(osc.Momentum()))]
NESTED = {"w": np.arange(6.0).reshape(2, 3), "more": [np.ones(2), (np.asarray(2.0), np.zeros(0))]}


def leaves(x):
    if isinstance(x, dict):
        x = [*x.values()]
    return [leaf for each in x for leaf in leaves(each)] if isinstance(x, list | tuple) else [x]


def twice(x):
    """The gradient of the square, for any structure."""
    if isinstance(x, dict):
        return {key: twice(each) for key, each in x.items()}
    return type(x)(map(twice, x)) if isinstance(x, list | tuple) else 2 * x


def square(x):
    return sum(float(np.sum(leaf * leaf)) for leaf in leaves(x))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_is_the_loop_one_would_write(rule):
    x = start = np.array([1.0, -2.0, 3.0])
    state, values = rule.init(x, np), []
    walk = iterate(twice, start, rule)
    for t in range(1, 21):
        values.append(x @ x)
        at = next(walk)
        step, state = rule.update(2 * x, state, x, t, np)
        assert at.t == t
        np.testing.assert_array_equal(at.x, x)
        np.testing.assert_array_equal(at.grad, 2 * x)
        np.testing.assert_array_equal(at.step, step)
        assert at.state.keys() == state.keys()
        for key, value in state.items():
            np.testing.assert_array_equal(at.state[key], value)
        x = x + step
        np.testing.assert_array_equal(at.x_next, x)
    done = minimize(lambda x: x @ x, twice, start, rule, steps=20)
    np.testing.assert_array_equal(done.x, x)
    np.testing.assert_array_equal(done.values, [*values, x @ x])
    assert (done.value, done.steps) == (x @ x, 20)
    assert done.value < values[0]


def test_a_structure_is_its_arrays_each_alone():
    rule = osc.Adam(lr=0.1)
    together = minimize(square, twice, NESTED, rule, steps=10)
    assert type(together.x["more"]) is list
    assert type(together.x["more"][1]) is tuple
    for ours, start in zip(leaves(together.x), leaves(NESTED), strict=True):
        np.testing.assert_array_equal(ours, minimize(None, twice, start, rule, steps=10).x)
    at = next(iterate(twice, NESTED, rule))
    assert at.state["more"][1][0].keys() == {"m", "v"}
    np.testing.assert_array_equal(at.x_next["more"][0], NESTED["more"][0] + at.step["more"][0])


def test_a_named_tuple_is_kept():
    pair = collections.namedtuple("pair", "w b")
    done = minimize(None, lambda x: pair(2 * x.w, 2 * x.b), pair(np.ones(2), 1.0), osc.Momentum(), steps=3)
    assert type(done.x) is pair
    np.testing.assert_array_equal(done.x.w[0], done.x.b)


def test_values_are_before_every_step_and_at_the_end():
    done = minimize(lambda x: np.float32(x @ x), twice, np.ones(2), osc.GradientDescent(lr=0.25), steps=3)
    np.testing.assert_allclose(done.values, [2, 0.5, 0.125, 0.03125])
    assert done.values.dtype == float
    assert done.values[-1] == done.value
    assert type(done.value) is float


def test_without_a_function_there_are_no_values():
    done = minimize(None, twice, np.ones(2), osc.Adam(), steps=3)
    assert (done.value, done.values.shape, done.steps) == (None, (0,), 3)


def test_no_steps():
    start = np.ones(2)
    done = minimize(square, twice, start, osc.Adam(), steps=0)
    assert (done.value, done.values.tolist(), done.steps) == (2.0, [2.0], 0)
    done.x[:] = 5
    assert start.tolist() == [1, 1]


@pytest.mark.parametrize("answer", [True, np.True_])
def test_callback_stops_after_its_step(answer):
    seen = []
    done = minimize(square, twice, np.ones(2), osc.Adam(), 9, lambda step: seen.append(step) or (step.t == 4) & answer)
    assert [step.t for step in seen] == [1, 2, 3, 4]
    assert done.steps == 4
    assert done.values.shape == (5,)
    np.testing.assert_array_equal(done.x, seen[-1].x_next)


def test_callback_that_returns_nothing_never_stops():
    seen = []
    assert minimize(None, twice, np.ones(2), osc.Adam(), 5, seen.append).steps == len(seen) == 5


def test_x0_is_not_written_to():
    before = [leaf.copy() for leaf in leaves(NESTED)]

    def grad(x):
        g = twice(x)
        x["w"][:] = 7.0  # nor by a gradient function that uses its argument as scratch
        return g

    minimize(square, grad, NESTED, osc.Momentum(), steps=5)
    for leaf, was in zip(leaves(NESTED), before, strict=True):
        np.testing.assert_array_equal(leaf, was)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_is_kept(dtype):
    """Whatever the gradient's, the hyperparameters' and a schedule's."""
    rule = osc.Scheduled(osc.Adam(b1=np.asarray(0.5)), lr=osc.Cosine(0.1, 10.0))
    start = {"a": np.ones(3, dtype), "b": np.asarray(2, dtype)}
    for at in islice(iterate(lambda x: {"a": [2, 2, 2], "b": np.float64(4)}, start, rule), 3):
        for part in (at.x, at.grad, at.step, at.x_next, at.state["a"], at.state["b"]):
            assert {leaf.dtype.name for leaf in leaves(part)} == {dtype}


def test_lists_of_numbers_are_not_arrays_but_gradients_may_be():
    done = minimize(None, lambda x: [2.0, 4.0], np.ones(2), osc.GradientDescent(lr=0.5), steps=1)
    assert done.x.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("x0", "grad", "sentence"),
    [
        (np.ones(3), np.ones(2), "grad returned shape (2,) for a parameter of shape (3,)"),
        (np.ones(3), 1.0, "grad returned shape () for a parameter of shape (3,)"),
        (np.ones((2, 1)), np.ones(2), "grad returned shape (2,) for a parameter of shape (2, 1)"),
        ({"a": np.ones(3)}, {"a": np.ones(4)}, "grad returned shape (4,) for a parameter of shape (3,)"),
        ({"a": np.ones(3)}, np.ones(3), "grad returned an array of shape (3,) where x0 has a dict of a"),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0}, "grad returned a dict of a where x0 has a dict of a, b"),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, "grad returned a dict of a, b where x0 has a dict of a"),
        ([1.0, 2.0], [1.0], "grad returned a list of 1 where x0 has a list of 2"),
        ([1.0, 2.0], {"a": 1.0}, "grad returned a dict of a where x0 has a list of 2"),
        ((np.ones(2),), np.ones((1, 2)), "grad returned an array of shape (1, 2) where x0 has a tuple of 1"),
        (np.ones(1), {}, "grad returned a dict of nothing where x0 has an array of shape (1,)"),
        (np.ones(()), None, "grad returned object numbers for a parameter of float64"),
        (np.ones(1), np.ones(1, complex), "grad returned complex128 numbers for a parameter of float64"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(x0, grad, sentence):
    with pytest.raises(BadInput) as error:
        minimize(None, lambda x: grad, x0, osc.Adam(), steps=1)
    assert str(error.value).removesuffix("; it must return x0's structure") == sentence


@pytest.mark.parametrize("x0", [np.arange(3), 1, {"a": [np.ones(2), np.ones(2, complex)]}, "abc", [True]])
def test_x0_must_be_floating(x0):
    with pytest.raises(BadInput, match=r"^x0 must hold floating numbers, not .+; write x0\.astype\(float\)$"):
        next(iterate(twice, x0, osc.Adam()))


def test_what_is_no_rule_is_refused():
    with pytest.raises(BadInput, match=r"^iterate takes a rule, such as osc\.Adam\(lr=1e-3\), not 'adam'$"):
        minimize(None, twice, np.ones(2), "adam", steps=1)


def test_negative_steps_are_refused():
    with pytest.raises(BadInput, match=r"^steps must be at least 0, not -1$"):
        minimize(None, twice, np.ones(2), osc.Adam(), steps=-1)
