"""Formulas typed by people: parsed, never run as Python, and fitted to columns of numbers.

    Formula("b1 * (1 - exp(-b2 * x))")(b1=2.0, b2=0.5, x=column)

The grammar is that of arithmetic: numbers, names, + − * / **, parentheses and the functions in FUNCTIONS. All else is
    refused.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import BadInput, unknown
from .solution import NOT_FINITE, Solution
from .solve import least_squares
from .walk import Method

_NAMES = """
abs arccos arcsin arctan arctan2 cbrt cos cosh exp expm1 log log10 log1p log2 maximum minimum sign sin sinh sqrt tan
tanh
"""
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(jnp, name) for name in _NAMES.split()}
FUNCTIONS |= {"erf": jax.scipy.special.erf, "sigmoid": jax.nn.sigmoid}
CONSTANTS = {"pi": math.pi, "e": math.e}

_OPERATORS: dict[type, tuple[str, Callable[..., Any]]] = {
    ast.Add: ("+", jnp.add),
    ast.Sub: ("-", jnp.subtract),
    ast.Mult: ("*", jnp.multiply),
    ast.Div: ("/", jnp.divide),
    ast.Pow: ("**", jnp.power),
}
LONGEST = 10_000
"""Characters a formula may have."""

Values = Mapping[str, Any]


class Formula:
    """A formula, ready to be evaluated, differentiated and compiled by JAX.

    Raises:
        BadInput: the text is no formula.
    """

    text: str
    names: tuple[str, ...]
    """The names it uses, constants and functions apart, in the order they appear."""

    def __init__(self, text: str) -> None:
        self.text = text
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
            raise BadInput(f"a formula is a text of 1 to {LONGEST} characters, such as 'a * exp(-b * x)'")
        try:
            tree = ast.parse(text.strip(), mode="eval")
            self._evaluate = self._built(tree.body)
        except SyntaxError as error:
            place = f" near {text.strip()[max(0, (error.offset or 1) - 1) :][:20]!r}" if error.offset else ""
            raise BadInput(f"{text!r} is not a formula: it cannot be read{place}") from None
        except (RecursionError, MemoryError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("the formula is nested too deeply, or holds what no formula does") from None
        found = sorted(
            (node.lineno, node.col_offset, node.id)
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and node.id not in FUNCTIONS
        )
        named = dict.fromkeys(name for *_, name in found)
        self.names = tuple(name for name in named if name not in CONSTANTS)
        self.constants = tuple(name for name in named if name in CONSTANTS)

    def __call__(self, **values: Any) -> Any:
        """The value, by JAX, of the shape that the values broadcast to.

        Raises:
            BadInput: a name has no value.
        """
        for name in self.names:
            if name not in values:
                raise _unknown_name(self.text, name, values)
        return self._evaluate(values)

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    def _built(self, node: ast.expr) -> Callable[[Values], Any]:
        match node:
            case ast.Constant(value=int() | float() as constant) if not isinstance(constant, bool):
                number = float(constant)
                return lambda values: number
            case ast.Name(id=name) if name in CONSTANTS:
                return lambda values: CONSTANTS[name]
            case ast.Name(id=name) if name in FUNCTIONS:
                raise BadInput(
                    f"{name} is a function in formulas: write {name}(…), or choose another name for the parameter"
                )
            case ast.Name(id=name):
                return lambda values: values[name]
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                inner, sign = self._built(operand), -1.0 if isinstance(node.op, ast.USub) else 1.0
                return lambda values: sign * inner(values)
            case ast.BinOp(op=ast.BitXor()):
                raise BadInput(f"in {self.text!r}, ^ is no operator: write ** for a power")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                function, a = _OPERATORS[type(op)][1], self._built(left)
                whole = _whole(right) if isinstance(op, ast.Pow) else None
                if whole is not None:
                    # A whole power is a product, and its derivative exists for a negative base.
                    return lambda values: jnp.power(a(values), whole)
                b = self._built(right)
                return lambda values: function(a(values), b(values))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                if name not in FUNCTIONS:
                    raise unknown("function", name, FUNCTIONS, f"the known ones: {', '.join(FUNCTIONS)}")
                wanted = 2 if name in ("arctan2", "maximum", "minimum") else 1
                if len(args) != wanted:
                    raise BadInput(
                        f"in {self.text!r}, {name} takes {wanted} argument{'s' * (wanted > 1)}, not {len(args)}"
                    )
                inners = [self._built(arg) for arg in args]
                return lambda values: FUNCTIONS[name](*(inner(values) for inner in inners))
        shown = ast.get_source_segment(self.text.strip(), node) or self.text
        raise BadInput(
            f"{shown!r} has no place in a formula, which is made of numbers, names, + - * / **, and functions"
        )


def _whole(node: ast.expr) -> int | None:
    """The small whole number that a node is, or None."""
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    if isinstance(inner, ast.Constant) and type(inner.value) is int and inner.value <= 64:
        return -inner.value if negative else inner.value
    return None


def _unknown_name(text: str, name: str, known: Mapping[str, Any]) -> BadInput:
    near = difflib.get_close_matches(name, list(known), n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return BadInput(
        f"in {text!r}, the name {name!r} is neither a column nor a parameter; {guess}"
        f"known are {', '.join(known) or 'none'}; give a parameter its start, {name}=1"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A formula fitted to data."""

    formula: Formula
    response: str
    parameters: dict[str, float]
    errors: dict[str, float]
    """The standard errors; NaN where the data does not determine a parameter."""
    fitted: np.ndarray
    """The formula's values, shape (rows,)."""
    residuals: np.ndarray
    """fitted − response, shape (rows,)."""
    deviation: float
    """The residual standard deviation √(Σ r² / (rows − parameters))."""
    solution: Solution


def fit(
    model: str,
    data: Mapping[str, Any],
    start: Mapping[str, float],
    *,
    response: str = "y",
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    method: str | Method = "lm",
    max_iterations: int = 1000,
) -> Fit:
    """Fit a formula to columns of numbers by least squares, in float64.

    Args:
        model: the formula of the response, in columns and parameters: "b1 * (1 - exp(-b2 * x))".
        data: the columns, each of shape (rows,).
        start: where each parameter starts.
        response: the column that the formula is to give.
        bounds: (lower, upper) for some of the parameters, None where there is none.
        method, max_iterations: as in `least_squares`.

    Raises:
        BadInput: the formula cannot be read or uses an unknown name, a parameter does not occur in it, the data is not
            numbers, something that the formula has is named like a constant, or it has no value at the start.
    """
    formula = Formula(model)
    for name in formula.constants:
        if name in data or name in start:
            what = "column" if name in data else "parameter"
            raise BadInput(f"in formulas {name} is the constant {CONSTANTS[name]:.4f}; rename the {what} {name!r}")
    if response not in data:
        raise unknown("response", response, data, f"the columns: {', '.join(data)}")
    columns = {name: _column(name, column) for name, column in data.items()}
    lengths = {name: column.size for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise BadInput(f"the columns must have equally many rows, not {lengths}")
    for name in formula.names:
        if name not in start and (name not in columns or name == response):
            raise _unknown_name(model, name, {**{c: 0 for c in columns if c != response}, **start})
    for name in start:
        if name in columns:
            raise BadInput(f"{name!r} is both a column and a parameter; rename one of them")
        if name not in formula.names:
            raise BadInput(
                f"the parameter {name!r} is not in {model!r}, which has {', '.join(formula.names) or 'no names'}"
            )
    for name in bounds or {}:
        if name not in start:
            raise unknown("bounded parameter", name, start, f"the parameters: {', '.join(start)}")
    x0 = {name: _number(name, value) for name, value in start.items()}
    used = {name: columns[name] for name in formula.names if name in columns}
    solution = least_squares(
        _residual(model),
        x0,
        (used, columns[response]),
        method=method,
        bounds=None if bounds is None else _box(bounds, x0),
        max_iterations=max_iterations,
    )
    if solution.status.code == NOT_FINITE and solution.iterations == 0:
        begun = ", ".join(f"{name}={value:g}" for name, value in x0.items())
        raise BadInput(f"{model!r} or its slope is not finite in every row at {begun}; start elsewhere")
    target = columns[response]
    with jax.enable_x64(True):
        fitted = np.broadcast_to(np.asarray(formula(**solution.x, **used)), target.shape)
    # JAX orders a dict's leaves by their keys.
    errors = dict(zip(sorted(x0), np.asarray(solution.standard_errors).tolist(), strict=True))
    free = target.size - len(x0)
    return Fit(
        formula=formula,
        response=response,
        parameters={name: float(solution.x[name]) for name in start},
        errors={name: errors[name] for name in start},
        fitted=fitted,
        residuals=fitted - target,
        deviation=float(np.sqrt(np.sum((fitted - target) ** 2) / free)) if free > 0 else float("nan"),
        solution=solution,
    )


@functools.lru_cache(maxsize=128)
def _residual(model: str) -> Callable[..., Any]:
    """One function for one text, so that a formula fitted again is not compiled again."""
    formula = Formula(model)
    return lambda parameters, columns, target: formula(**parameters, **columns) - target


def _column(name: str, column: Any) -> np.ndarray:
    try:
        numbers = np.asarray(column, float)
    except (TypeError, ValueError):
        raise BadInput(f"the column {name!r} must hold numbers") from None
    if numbers.ndim != 1 or numbers.size == 0:
        raise BadInput(f"the column {name!r} must have the shape (rows,), not {numbers.shape}")
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise BadInput(f"the column {name!r} has {numbers[row]} in row {row}; leave such rows out")
    return numbers


def _number(name: str, value: Any) -> np.ndarray:
    try:
        number = np.asarray(value, float)
    except (TypeError, ValueError):
        number = np.asarray(np.nan)
    if number.ndim or not np.isfinite(number):
        raise BadInput(f"the parameter {name!r} must start at a finite number, not {value!r}")
    return number


def _box(bounds: Mapping[str, tuple[float | None, float | None]], x0: dict[str, Any]) -> tuple[dict, dict]:
    pairs = {name: bounds.get(name, (None, None)) for name in x0}
    lower = {name: -np.inf if low is None else low for name, (low, _) in pairs.items()}
    upper = {name: np.inf if high is None else high for name, (_, high) in pairs.items()}
    return lower, upper
