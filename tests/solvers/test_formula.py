"""Formulas: what they are, what they are not, and fits of them against certified values."""

import contextlib

import jax
import nist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiscope.errors import BadInput
from optiscope.solvers.formula import Formula, fit


@pytest.mark.parametrize(
    ("text", "names", "value"),
    [
        ("1 + 2 * 3 ** 2", (), 19),
        ("-2 ** 2", (), -4),
        ("2 ** -1", (), 0.5),
        ("2 ** 3 ** 2", (), 512),
        ("x / y - y", ("x", "y"), -1.5),
        ("exp(log(y)) * sqrt(x + 3) + pi - pi", ("y", "x"), 4),
        ("maximum(x, y) + arctan2(0, x)", ("x", "y"), 2),
        ("(x - 3) ** 3", ("x",), -8),
        ("1e-3 * x + .5", ("x",), 0.501),
        ("9 ** 9 ** 9", (), np.inf),
        ("1 / 0", (), np.inf),
    ],
)
def test_arithmetic(text, names, value):
    f = Formula(text)
    assert f.names == names
    np.testing.assert_allclose(f(**{n: v for n, v in {"x": 1.0, "y": 2.0}.items() if n in names}), value)


def test_a_whole_power_of_a_negative_number_has_a_derivative():
    assert jax.grad(lambda x: Formula("x ** 2")(x=x))(-3.0) == -6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__import__('os').system('true')", "has no place"),
        ("__import__(x)", "unknown function '__import__'"),
        ("(lambda: 1)()", "has no place"),
        ("().__class__", "has no place"),
        ("x.real", "'x.real' has no place"),
        ("x[0]", "has no place"),
        ("[x for x in y]", "has no place"),
        ("x if y else z", "has no place"),
        ("'text'", "has no place"),
        ("1j * x", "has no place"),
        ("True", "has no place"),
        ("x == y", "has no place"),
        ("x and y", "has no place"),
        ("x % 2", "has no place"),
        ("f'{x}'", "has no place"),
        ("exp(*x)", "has no place"),
        ("exp(x, y)", "exp takes 1 argument, not 2"),
        ("exp(x=1)", "has no place"),
        ("epx(x)", "did you mean 'exp'"),
        ("exp * x", "exp is a function"),
        ("x ^ 2", "write ** for a power"),
        ("x = 3", "cannot be read"),
        ("x := 3", "cannot be read"),
        ("a *", "cannot be read"),
        ("", "a text of 1 to"),
        ("(" * 3000 + "x" + ")" * 3000, "formula"),
        ("-" * 9000 + "x", "formula"),
        ("x\0", "formula"),
    ],
)
def test_all_else_is_refused(text, says):
    with pytest.raises(BadInput) as caught:
        Formula(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text("xab0123456789.+-*/()^[]{}_'\"\\, \nlambdeimport:=%!&|~@#$;", max_size=40))
def test_no_text_does_worse_than_to_be_refused(text):
    with contextlib.suppress(BadInput):
        Formula(text)


def test_a_fit_is_nists():
    c = nist.certified("Misra1a")
    f = fit("b1 * (1 - exp(-b2 * x))", {"x": c.x, "y": c.y}, {"b1": 500, "b2": 1e-4})
    assert nist.digits([f.parameters["b1"], f.parameters["b2"]], c.parameters) > 6
    assert nist.digits([f.errors["b1"], f.errors["b2"]], c.errors) > 6
    assert f.deviation == pytest.approx((c.rss / 12) ** 0.5)
    np.testing.assert_allclose(f.fitted - f.residuals, c.y)
    assert f.solution.ok


def test_bounds():
    data = {"x": np.linspace(0, 1, 9), "y": np.linspace(0, 3, 9)}
    f = fit("a * x + z", data, {"z": 1.0, "a": 1.0}, bounds={"a": (None, 2.0)})
    assert f.parameters["a"] == 2
    assert np.isnan(f.errors["a"])


DATA = {"x": [1.0, 2, 3], "y": [1.0, 2, 4]}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit("a * xx", DATA, {"a": 1}), "did you mean 'x'? known are x, a; give a parameter its start, xx=1"),
        (lambda: fit("a * y", DATA, {"a": 1}), "neither a column nor a parameter"),
        (lambda: fit("a * x", DATA, {"a": 1, "b": 2}), "'b' is not in"),
        (lambda: fit("a * x", DATA, {"a": 1, "x": 2}), "both a column and a parameter"),
        (lambda: fit("a * e", {"e": [1.0, 2, 3], "y": [1.0, 2, 4]}, {"a": 1}), "2.7183; rename the column 'e'"),
        (lambda: fit("a * x + e", DATA, {"a": 1, "e": 2}), "2.7183; rename the parameter 'e'"),
        (lambda: fit("a * x", DATA, {"a": "one"}), "finite number, not 'one'"),
        (lambda: fit("a * x", DATA, {"a": 1}, response="z"), "unknown response 'z'"),
        (lambda: fit("a * x", {**DATA, "x": [1, 2]}, {"a": 1}), "equally many rows"),
        (lambda: fit("a * x", {**DATA, "x": ["1", "b", "c"]}, {"a": 1}), "must hold numbers"),
        (lambda: fit("a * x", {**DATA, "x": [1, np.nan, 3]}, {"a": 1}), "nan in row 1"),
        (lambda: fit("log(a * x)", DATA, {"a": -1}), "not finite in every row at a=-1; start elsewhere"),
        (lambda: fit("sqrt(a - x)", DATA, {"a": 1}), "not finite in every row at a=1; start elsewhere"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(BadInput) as caught:
        call()
    assert says in str(caught.value)
