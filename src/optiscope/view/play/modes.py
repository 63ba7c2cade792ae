"""Momentum and modes: a rule on a quadratic, where everything can be said in eigenvalues.

Along an eigenvector of the Hessian with curvature λ the gradient is λ x, and a rule that is linear in its gradient
takes (x, state) to a matrix times it. The largest modulus among the matrix's eigenvalues is the factor by which the
error shrinks in a step (Polyak, 1964; Goh, "Why Momentum Really Works", 2017).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ... import rules
from ...rules.contract import Rule
from . import asks

LINEAR = ("momentum", "nesterov")
"""The rules whose plane is drawn: linear ones, with an lr and a momentum."""
SHAPE = (72, 108)
"""Rows, of momentum from 0 to 1, and columns, of lr, of the plane."""
REACH = 4.2
"""The plane's last lr, times the largest curvature: beyond 2 (1 + β) / λ nothing is stable."""
CURVATURES, STEPS = 8, 150


def _transition(rule: Rule, curvature: Any) -> Any:
    """The matrix that takes (x, state) a step on where the gradient is `curvature` · x."""
    here, unravel = ravel_pytree((jnp.zeros(()), rule.init(jnp.zeros(()), jnp)))

    def step(flat: Any) -> Any:
        x, state = unravel(flat)
        # Any step but the first, which some variants treat apart.
        move, state = rule.update(curvature * x, state, x, 2, jnp)
        return ravel_pytree((x + move, state))[0]

    return jax.jacobian(step)(here)


@functools.partial(jax.jit, static_argnums=0)
def _transitions(name: str, lr: Any, momentum: Any, curvatures: Any) -> Any:
    def one(lr: Any, momentum: Any, curvature: Any) -> Any:
        return _transition(rules.rule(name, lr=lr, momentum=momentum), curvature)

    over = jax.vmap(one, (None, None, 0))
    return jax.vmap(over, (0, 0, None))(lr, momentum, curvatures)


def _eigenvalues(name: str, lr: np.ndarray, momentum: np.ndarray, curvatures: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.linalg.eigvals(np.asarray(_transitions(name, lr, momentum, curvatures)))


def _read(facts: asks.Facts) -> tuple[str, np.ndarray]:
    name = asks.choice(facts, "rule", LINEAR)
    return name, np.array(asks.numbers(facts, "curvatures", CURVATURES, 1e-6, 1e6))


def rates(facts: asks.Facts) -> np.ndarray:
    """The factor by which the error shrinks in a step, over the plane of lr (columns) and momentum (rows).

    {rule, curvatures} gives an array of shape SHAPE; a factor of 1 or more does not converge.

    Raises:
        BadInput: the request is malformed.
    """
    name, curvatures = _read(facts)
    momentum, lr = np.meshgrid(
        np.linspace(0, 1, SHAPE[0], endpoint=False), np.linspace(0, REACH / curvatures.max(), SHAPE[1]), indexing="ij"
    )
    found = np.abs(_eigenvalues(name, lr.ravel(), momentum.ravel(), curvatures))
    return found.max(axis=(1, 2)).reshape(SHAPE)


def modes(facts: asks.Facts) -> dict[str, Any]:
    """At one point of the plane: the eigenvalues of each mode, and how its error goes.

    {rule, curvatures, lr, momentum} gives "eigenvalues", (curvatures, 2) pairs of real and imaginary part; "rate", the
    largest modulus; "errors", |x| of each mode started at 1, (curvatures, STEPS + 1).

    Raises:
        BadInput: the request is malformed.
    """
    name, curvatures = _read(facts)
    lr = asks.number(facts, "lr", 0.0, 1e7)
    momentum = asks.number(facts, "momentum", 0.0, 0.9999)
    at = (np.array([lr]), np.array([momentum]), curvatures)
    found = _eigenvalues(name, *at)[0]
    with jax.enable_x64(True):
        matrices = np.asarray(_transitions(name, *at))[0]
    z = np.zeros((len(curvatures), matrices.shape[-1]))
    z[:, 0] = 1
    errors = [z[:, 0]]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS):
            z = np.einsum("nij,nj->ni", matrices, z)
            errors.append(z[:, 0])
    return {
        "eigenvalues": np.stack([found.real, found.imag], axis=-1),
        "rate": float(np.abs(found).max()),
        "errors": np.abs(np.stack(errors, axis=1)),
    }
