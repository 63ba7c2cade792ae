"""Newton's method in a trust region: p minimises gᵀp + ½ pᵀHp over ‖p‖ ≤ Δ, exactly or by conjugate gradients."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import BadInput
from .certify import certified
from .jacobi import eigh
from .quasi_newton import Pairs
from .smooth import Smooth, bottomless, tolerance
from .solution import CONVERGED, EDGE, ITERATIONS, NOT_FINITE, STALLED, UNBOUNDED
from .walk import Budget, Ended, Keep, Method, Walk, eps, first_of, fresh


class State(NamedTuple):
    walk: Walk
    x: Any
    x0: Any
    value: Any
    gradient: Any
    model: Any
    """What the method keeps of the Hessian at x."""
    D: Any
    """The units of the variables in the region ‖D p‖ ≤ Δ."""
    radius: Any
    first: Any
    """The value at the start."""
    largest: Any
    """The largest gradient's norm so far."""
    stale: Any
    """Whether value, gradient and model are of an earlier x."""


@dataclasses.dataclass(frozen=True)
class TrustRegion(Method):
    """The step that the methods share (Nocedal & Wright, 2006, algorithm 4.1), in a region ‖D p‖ ≤ Δ."""

    @abstractmethod
    def blank(self, x: Any) -> Any:
        """A model, to give the shapes."""

    @abstractmethod
    def model(self, problem: Smooth, x: Any, model: Any, D: Any) -> tuple[Any, Any, Any]:
        """What is kept of the Hessian at x, and D, from what they were at the last x, and the products this took."""

    @abstractmethod
    def convex(self, model: Any) -> Any:
        """Whether no negative curvature is known."""

    @abstractmethod
    def solve(self, problem: Smooth, w: State) -> tuple[Any, Any, Any, Any]:
        """p, Hp, the products with the Hessian that this took, and the model, which may have learned from them."""

    def begin(self, problem: Smooth, x: Any, keep: Keep | None) -> State:
        nan = jnp.full((), jnp.nan, x.dtype)
        return State(
            walk=fresh(x, keep),
            x=x,
            x0=x,
            value=nan,
            gradient=jnp.zeros_like(x),
            model=self.blank(x),
            D=jnp.zeros_like(x),
            radius=nan,
            first=nan,
            largest=jnp.zeros((), x.dtype),
            stale=jnp.bool_(True),
        )

    def step(self, problem: Smooth, budget: Budget, w: State) -> State:
        w = jax.lax.cond(w.stale, lambda w: self._arrived(problem, budget, w), lambda w: w, w)
        running = w.walk.status == 0
        p, Hp, products, model = self.solve(problem, w)
        value = problem.value(w.x + p)
        foreseen = -jnp.vdot(w.gradient, p) - jnp.vdot(p, Hp) / 2
        decrease = w.value - value
        # Both are lost in rounding near the minimum, where the model is right (Conn, Gould & Toint, 2000, section
        # 17.4.2).
        noise = 10 * eps(value) * jnp.abs(w.value)
        finite = jnp.isfinite(value)
        ratio = jnp.where(finite & (foreseen > 0), (decrease + noise) / (foreseen + noise), -1.0)
        length = jnp.linalg.norm(w.D * p)
        # A promise that the value's rounding would hide cannot be tested any more.
        invisible = running & (foreseen <= eps(value) * jnp.abs(w.value))
        accept = running & ~invisible & (ratio > 1e-4)
        radius = jnp.where(
            ratio < 0.25, 0.25 * length, jnp.where((ratio > 0.75) & (length > 0.8 * w.radius), 2 * w.radius, w.radius)
        )
        extent = jnp.maximum(jnp.linalg.norm(w.D * w.x), jnp.linalg.norm(w.D * (w.x - w.x0)))
        last = running & ~accept & (length <= eps(value) * extent)
        walk = w.walk._replace(iterations=w.walk.iterations + running)
        walk = walk.called(running * (1 + 2 * products), function=running, hvp=running * products)
        status = first_of(
            (last & ~finite, EDGE), (last | invisible, STALLED), (~accept & budget.spent(walk), ITERATIONS)
        )
        walk = walk._replace(status=jnp.where(running, status, walk.status))
        walk = walk.saw(
            running,
            w.x,
            value=w.value,
            gradient_norm=jnp.max(jnp.abs(w.gradient)),
            step=jnp.linalg.norm(p),
            damping=w.radius,
            ratio=ratio,
            curvature=jnp.vdot(p, Hp),
        )
        return w._replace(
            walk=walk,
            x=jnp.where(accept, w.x + p, w.x),
            model=model,
            radius=jnp.where(running, radius, w.radius),
            stale=accept,
        )

    def finish(self, problem: Smooth, w: State) -> Ended:
        norm = jnp.max(jnp.abs(problem.projected(w.x, w.gradient)))
        walk = certified(problem, w.walk, w.x, w.x0, w.value, w.gradient)
        return Ended(walk, w.x, w.value, w.gradient, norm)

    def _arrived(self, problem: Smooth, budget: Budget, w: State) -> State:
        starting = w.walk.evaluations.gradient == 0
        value, g = problem.value_and_grad(w.x)
        model, D, products = self.model(problem, w.x, w.model, w.D)
        far, near, norm = jnp.max(jnp.abs(jnp.stack([w.x, w.x0, g])), axis=1)
        first, largest = jnp.where(starting, value, w.first), jnp.maximum(norm, w.largest)
        status = first_of(
            (~(jnp.isfinite(value) & jnp.isfinite(norm)), NOT_FINITE),
            (bottomless(value, first, far, near), UNBOUNDED),
            ((norm <= tolerance(budget.tol, largest)) & self.convex(model), CONVERGED),
            (budget.spent(w.walk), ITERATIONS),
        )
        walk = w.walk._replace(status=status).called(1, function=jnp.where(starting, 1, 0), gradient=1)
        walk = walk.saw(True, w.x, value=value, gradient_norm=norm).called(2 * products, hvp=products)
        # Half of ‖D x₀‖: a first step no longer than that keeps every variable's order of magnitude.
        reach = jnp.linalg.norm(D * w.x) / 2
        radius = jnp.where(starting, jnp.where(reach > 0, reach, 1.0), w.radius)
        return State(walk, w.x, w.x0, value, g, model, D, radius, first, largest, jnp.bool_(False))


class Spectrum(NamedTuple):
    """D⁻¹ H D⁻¹ = Q diag(λ) Qᵀ, λ ascending."""

    eigenvalues: Any
    Q: Any


@dataclasses.dataclass(frozen=True)
class Newton(TrustRegion):
    """The exact minimiser, from the Hessian's eigenvectors (Moré & Sorensen, 1983; Nocedal & Wright, section 4.3).

    D holds the largest √|Hᵢᵢ| so far, which makes the method indifferent to the units of the variables, as D does in
    Levenberg–Marquardt (Moré, 1978). The spectrum is computed once a point and serves every radius tried there. Where
    the curvature is negative the region's boundary is reached along it, also from a point where the gradient
    vanishes: a saddle is left.
    """

    def blank(self, x: Any) -> Any:
        return Spectrum(jnp.zeros_like(x), jnp.eye(x.size, dtype=x.dtype))

    def model(self, problem: Smooth, x: Any, model: Any, D: Any) -> tuple[Any, Any, Any]:
        H = problem.hessian(x)
        # The gradient's test reports a point whose derivatives are not finite; eigh might not return from it.
        H = jnp.where(jnp.all(jnp.isfinite(H)), H, 0)
        D = jnp.maximum(D, jnp.sqrt(jnp.abs(jnp.diagonal(H))))
        D = jnp.where(D > 0, D, 1.0)
        return Spectrum(*eigh(H / D[:, None] / D[None, :])), D, x.size

    def convex(self, model: Any) -> Any:
        eigenvalues = model.eigenvalues
        return eigenvalues[0] >= -jnp.sqrt(eps(eigenvalues)) * jnp.max(jnp.abs(eigenvalues))

    def solve(self, problem: Smooth, w: State) -> tuple[Any, Any, Any, Any]:
        eigenvalues, Q = w.model
        z = _minimiser(eigenvalues, (w.gradient / w.D) @ Q, w.radius)
        return (Q @ z) / w.D, w.D * (Q @ (eigenvalues * z)), 0, w.model


def _minimiser(h: Any, c: Any, radius: Any) -> Any:
    """The minimiser of cᵀz + ½ Σ hᵢ zᵢ² over ‖z‖ ≤ radius."""
    scale = jnp.maximum(jnp.max(jnp.abs(h)), jnp.linalg.norm(c) / radius)
    tiny = eps(h) * h.size * scale
    least = jnp.maximum(0, -h[0])

    def at(shift: Any) -> Any:
        d = h + shift
        return -jnp.where(d > tiny, c, 0) / jnp.where(d > tiny, d, 1)

    def newton(_: int, bounds: Any) -> Any:
        """Reinsch's iteration on 1/‖z‖ − 1/Δ, kept between bounds that it narrows."""
        shift, low, high = bounds
        z = at(shift)
        size = jnp.linalg.norm(z)
        d = jnp.where(h + shift > tiny, h + shift, 1)
        low, high = jnp.where(size > radius, shift, low), jnp.where(size > radius, high, shift)
        better = shift + (size**2 / jnp.sum(z**2 / d)) * (size - radius) / radius
        return jnp.where((better > low) & (better < high), better, (low + high) / 2), low, high

    low, high = least + 2 * tiny, least + 2 * tiny + jnp.linalg.norm(c) / radius
    # From a little above −λ₁ the iteration converges from the left, where it is monotone.
    shift, _, _ = jax.lax.fori_loop(0, 25, newton, (low, low, high))
    inside = at(jnp.zeros_like(radius))
    # Along a direction without curvature the model has a minimum only if it has no slope.
    level = jnp.all((h > tiny) | (jnp.abs(c) <= eps(h) * jnp.linalg.norm(c)))
    z = jnp.where((h[0] >= -tiny) & level & (jnp.linalg.norm(inside) <= radius), inside, at(shift))
    # The hard case: g has no part along the lowest eigenvector, and the rest does not reach the boundary.
    short = jnp.maximum(radius**2 - jnp.sum(z**2), 0)
    reach = jnp.where(h[0] < -tiny, jnp.sqrt(short) * jnp.where(c[0] > 0, -1.0, 1.0), 0)
    along = jnp.where(jnp.arange(h.size) == 0, reach, 0)
    hard = jnp.linalg.norm(z) < 0.999 * radius
    return jnp.where(hard, z + along, z)


@dataclasses.dataclass(frozen=True)
class NewtonCG(TrustRegion):
    """Hessian-free Newton: the model minimised by conjugate gradients, which stop at the region's boundary, at negative
    curvature, or when the residual is below min(½, √‖g‖) ‖g‖ (Steihaug, 1983; Nocedal & Wright, 2006, algorithm 7.2).

    The gradients are preconditioned by the inverse Hessian of the last `memory` pairs of a direction and the Hessian
    times it, which the iterations before have left (Morales & Nocedal, 2000); by none where `memory` is 0.
    """

    memory: int = 20

    def __post_init__(self) -> None:
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 0:
            raise BadInput(f"memory of NewtonCG must be a whole number ≥ 0, not {self.memory!r}")

    def blank(self, x: Any) -> Any:
        return Pairs.none(self.memory, x)

    def model(self, problem: Smooth, x: Any, model: Any, D: Any) -> tuple[Any, Any, Any]:
        return model, jnp.ones_like(x), 0

    def convex(self, model: Any) -> Any:
        return True

    def solve(self, problem: Smooth, w: State) -> tuple[Any, Any, Any, Any]:
        g, radius = w.gradient, w.radius
        norm = jnp.linalg.norm(g)
        # Relative to the largest so far: √‖g‖ of a gradient in other units would be another method.
        enough = jnp.minimum(0.5, jnp.sqrt(norm / jnp.where(w.largest > 0, w.largest, 1))) * norm
        running = w.walk.status == 0

        def conditioned(r: Any) -> Any:
            return w.model.inverse(r) if self.memory else r

        def going(s: tuple) -> Any:
            k, _, _, r, *_, done = s
            return ~done & (jnp.linalg.norm(r) > enough) & (k < 2 * g.size)

        def cg(s: tuple) -> tuple:
            k, z, Hz, r, y, d, pairs, _ = s
            Hd = problem.hvp(w.x, d)
            dHd, ry = jnp.vdot(d, Hd), jnp.vdot(r, y)
            alpha = ry / dHd
            leaves = (dHd <= 0) | ~(jnp.linalg.norm(z + alpha * d) < radius)
            alpha = jnp.where(leaves, _to_boundary(z, d, radius), alpha)
            z, Hz, r = z + alpha * d, Hz + alpha * Hd, r + alpha * Hd
            if self.memory:
                pairs = pairs.longer(d, Hd)
            y = conditioned(r)
            return k + 1, z, Hz, r, y, -y + jnp.vdot(r, y) / ry * d, pairs, leaves

        zero, y = jnp.zeros_like(g), conditioned(g)
        begin = jnp.int32(0), zero, zero, g, y, -y, w.model, ~running
        k, p, Hp, *_, pairs, _ = jax.lax.while_loop(going, cg, begin)
        return p, Hp, k, pairs


def _to_boundary(z: Any, d: Any, radius: Any) -> Any:
    """The τ ≥ 0 with ‖z + τ d‖ = radius."""
    a, b, c = jnp.vdot(d, d), jnp.vdot(z, d), jnp.vdot(z, z) - radius**2
    root = jnp.sqrt(jnp.maximum(b**2 - a * c, 0))
    return jnp.where(b > 0, -c / (b + root), (root - b) / a)
