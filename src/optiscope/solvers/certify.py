"""Whether a point where the gradient vanishes is a minimum.

A vanishing gradient alone does not tell a minimum from a saddle, nor from a slope that flattens out towards infinity.
The Hessian on a subspace of at most PROBES dimensions does: all of it for small problems; for larger ones the Krylov
space of the gradient and a random vector, where negative curvature can escape notice but seldom does (Lanczos finds
the outermost eigenvalues first). A slope that never ends shows when one follows the step that the Hessian proposes
and the function keeps falling.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .jacobi import eigh
from .smooth import Smooth
from .solution import CONVERGED, FLAT, SADDLE, STALLED
from .walk import Walk, eps, first_of

PROBES = 10


def certified(problem: Smooth, walk: Walk, x: Any, x0: Any, value: Any, g: Any) -> Walk:
    """The walk with its status corrected; for a solver that ended otherwise than by the gradient, as it was."""
    doubtful = (walk.status == CONVERGED) | (walk.status == STALLED)
    # A loop of one turn, since XLA makes one kernel of a small loop and not of a branch.
    return jax.lax.while_loop(
        lambda s: s[0], lambda s: (jnp.zeros_like(s[0]), _examined(problem, s[1], x, x0, value, g)), (doubtful, walk)
    )[1]


def _examined(problem: Smooth, walk: Walk, x: Any, x0: Any, value: Any, g: Any) -> Walk:
    free = problem.free(x, g)
    g = jnp.where(free, g, 0)
    small = x.size <= PROBES
    Q, T = _basis(problem, x, free) if small else _krylov(problem, x, g, free)
    finite = jnp.all(jnp.isfinite(T))
    T = jnp.where(finite, (T + T.T) / 2, 0)
    # Where all of the Hessian is known its diagonal tells the variables' units.
    diagonal = jnp.abs(jnp.diagonal(T))
    D = jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1)) if small else jnp.ones_like(diagonal)
    h, V = eigh(T / D[:, None] / D[None, :])
    steepest = jnp.max(jnp.abs(h))
    c = ((Q @ g) / D) @ V
    # Below this a curvature is the noise of the products.
    blurred = eps(x) * h.size * steepest
    promise = jnp.sum(jnp.where(c != 0, c**2 / jnp.maximum(h, blurred), 0)) / 2
    vanished = (walk.status == CONVERGED) | (promise <= eps(x) ** 0.75 * jnp.abs(value))
    saddle = h[0] < -jnp.sqrt(eps(x)) * steepest
    # Newton's step, of which only the longest part counts: the others would hide a slope along it.
    z = -jnp.where(h > blurred, c / jnp.where(h > blurred, h, 1), 0)
    z = jnp.where(jnp.arange(h.size) == jnp.argmax(jnp.abs(z)), z, 0)
    step = ((V @ z) / D) @ Q
    flat = jnp.any(free) & ((steepest == 0) | _beyond(problem, x, x0, step))
    status = first_of((~finite, walk.status), (~vanished, STALLED), (saddle, SADDLE), (flat, FLAT), (True, CONVERGED))
    return walk._replace(status=status).called(2 * len(T) + 1, hvp=len(T), gradient=1)


def _beyond(problem: Smooth, x: Any, x0: Any, step: Any) -> Any:
    """Whether the function still falls a hundred Newton steps ahead, where in a bowl it would long have risen.

    A step that is itself rounding has no answer.
    """
    far = problem.clipped(x + 100 * step)
    _, slope = problem.value_and_grad(far)
    extent = jnp.maximum(jnp.linalg.norm(x), jnp.linalg.norm(x - x0))
    moved, rises = jnp.linalg.norm(far - x), jnp.vdot(slope, far - x)
    # Close by, a value that is not finite is the edge of a domain, and no slope.
    return (moved > jnp.sqrt(eps(x)) * extent) & ((rises <= 0) | (jnp.isnan(rises) & (moved > extent)))


def _basis(problem: Smooth, x: Any, free: Any) -> tuple[Any, Any]:
    """All directions, and the Hessian."""
    Q = jnp.eye(x.size, dtype=x.dtype)
    H = jax.lax.map(lambda q: problem.hvp(x, q), Q)
    return Q, jnp.where(free[:, None] & free[None, :], H, 0)


def _krylov(problem: Smooth, x: Any, g: Any, free: Any) -> tuple[Any, Any]:
    """Orthonormal directions Q, a row each, and Q H Qᵀ."""
    random = jnp.where(free[None, :], jax.random.normal(jax.random.key(0), (PROBES, x.size), x.dtype), 0)
    size = jnp.linalg.norm(g)
    first = random[0] / jnp.linalg.norm(random[0]) + g / jnp.where(size > 0, size, 1)

    def probe(i: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        Q, HQ = found
        v = jnp.where(i == 0, first, HQ[i - 1])
        q = _orthogonal(v, Q)
        # Where the Krylov space is exhausted a random direction opens another.
        q = jnp.where(jnp.linalg.norm(q) > jnp.sqrt(eps(x)) * jnp.linalg.norm(v), q, _orthogonal(random[i], Q))
        q = _orthogonal(q / jnp.maximum(jnp.linalg.norm(q), float(np.finfo(x.dtype).tiny)), Q)
        return Q.at[i].set(q), HQ.at[i].set(jnp.where(free, problem.hvp(x, q), 0))

    none = jnp.zeros((PROBES, x.size), x.dtype)
    Q, HQ = jax.lax.fori_loop(0, PROBES, probe, (none, none))
    return Q, Q @ HQ.T


def _orthogonal(v: Any, Q: Any) -> Any:
    """v without its part in the rows of Q; twice is enough (Kahan; Parlett, 1980, section 6.9)."""
    v = v - (Q @ v) @ Q
    return v - (Q @ v) @ Q
