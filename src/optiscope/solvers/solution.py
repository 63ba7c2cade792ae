"""What a solver hands back: a value. So is its status: no solver raises because a function was hard."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..values import value

RUNNING, CONVERGED, ITERATIONS, STALLED, SADDLE, FLAT, UNBOUNDED, EDGE, NOT_FINITE, RANK_DEFICIENT = range(10)

_STATUSES = (
    ("running", "The solver has not finished; run it on."),
    ("converged", "The gradient vanishes and no negative curvature was found; use the result."),
    (
        "iterations",
        "The iterations, or what they may cost, ran out before the gradient vanished; raise max_iterations or "
        "max_cost, or go on from this x.",
    ),
    (
        "stalled",
        "No lower value was found along the last direction though the gradient has not vanished; check the gradient, "
        "rescale the variables, or start elsewhere.",
    ),
    (
        "saddle",
        "The gradient vanishes at a saddle or a maximum: the curvature is negative along some direction; start "
        "elsewhere, or use minimize with method='newton', which leaves saddles.",
    ),
    (
        "flat",
        "The gradient vanishes, but so does the curvature: a minimum may lie here, far off, or nowhere; look at values "
        "around x, start elsewhere, or bound the variables.",
    ),
    ("unbounded", "The value falls without end; check its sign, or bound the variables."),
    (
        "edge",
        "All steps that would go down leave the region where the function is finite; the minimum may lie on its edge: "
        "reformulate, bound the variables, or start elsewhere.",
    ),
    ("not finite", "The value or a derivative is not finite at x; start where both are, or compute in float64."),
    (
        "rank deficient",
        "The residual cannot be made smaller, but the data does not determine all parameters: the Jacobian lacks full "
        "rank; fix a parameter, or measure more.",
    ),
)


@value
class Status:
    """How a solver ended. `code` is a whole number, or an array of them for a batch."""

    code: Any

    @property
    def name(self) -> Any:
        """One or two words: "converged", "stalled"…; for a batch an array of them."""
        names = np.array([name for name, _ in _STATUSES])[np.asarray(self.code)]
        return str(names) if names.ndim == 0 else names

    @property
    def sentence(self) -> str:
        """What happened and what to do next; for a batch, the statuses that occurred, counted."""
        code = np.asarray(self.code)
        if code.ndim == 0:
            return _STATUSES[int(code)][1]
        found, counts = np.unique(code, return_counts=True)
        return "; ".join(f"{n} × {_STATUSES[i][0]}" for i, n in zip(found, counts, strict=True))

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}" if np.ndim(self.code) == 0 else self.sentence


class Evaluations(NamedTuple):
    """What was called, and how often. A value and its gradient computed together count once as each."""

    function: Any
    gradient: Any
    hvp: Any
    """Products of the Hessian with a vector; an exact Hessian of n variables counts as n."""
    jacobian: Any


class History(NamedTuple):
    """A row an iteration, the start first; arrays of shape (iterations + 1,). NaN where a method has no such number.

    Where a trial was refused the row repeats the value and the gradient of the point that was kept.
    """

    value: Any
    gradient_norm: Any
    step: Any
    """The step length along the direction, or the length of the step in a method without a line search."""
    damping: Any
    """λ of a damped method, the radius of a trust region."""
    ratio: Any
    """The decrease over the one that the model had foreseen."""
    curvature: Any
    """sᵀy: the step times the change of the gradient."""
    cost: Any
    """What had been called by then, as in `Solution.cost`."""
    x: Any = None
    """Where the solver stood: x0's structure, each leaf with the rows as first axis; None unless it was asked for."""


@value
class Solution:
    """Where a solver ended and why. In a batch every leaf has the batch's leading axes."""

    x: Any
    """The best point: x0's structure and shapes."""
    value: Any
    """The function there; for least squares ½ Σ r²."""
    gradient: Any
    """Its gradient there; x0's structure and shapes."""
    gradient_norm: Any
    """The largest entry of the gradient by magnitude; with bounds, of x less its gradient step projected on them."""
    status: Status
    iterations: Any
    evaluations: Evaluations
    cost: Any
    """All of them, in gradients: a value, with its gradient or without, is 1, a product with the Hessian 2, and a
    Jacobian one for each of its columns, or of its rows where those are fewer than half as many."""
    covariance: Any = None
    """Least squares alone: (n, n), s² (JᵀJ)⁻¹ with s² = Σ r² / (m − n), the parameters in the order of x0's leaves.

    NaN where m ≤ n, and in the rows and columns of parameters that the data does not determine or a bound holds.
    """
    inverse_hessian: Any = None
    """"bfgs" alone: (n, n), what it learned of the Hessian's inverse, the variables in the order of x0's leaves."""
    history: History | None = None

    @property
    def ok(self) -> Any:
        """Whether it converged."""
        return self.status.code == CONVERGED

    @property
    def standard_errors(self) -> Any:
        """√ of the covariance's diagonal, shape (n,); None where there is no covariance."""
        return None if self.covariance is None else np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))
