"""Nonlinear least squares: min ½‖r(x)‖², by methods that model r by r + Jp.

All three share one step. With D the norms of J's columns, which make every method here indifferent to the units of the
variables, and the singular value decomposition J D⁻¹ = U diag(s) Vᵀ, a method's move is a few numbers: for every
singular direction, with c = Uᵀr, Gauss–Newton goes −c/s, Levenberg–Marquardt −s c/(s² + λ). The decomposition costs
more than a QR factorisation, but is made once a Jacobian, not once a trial λ, and tells the rank; the normal equations
would lose half the digits (the NIST problems have condition numbers to 10¹⁰).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import unknown
from .certify import certified
from .jacobi import svd
from .smooth import Smooth
from .solution import CONVERGED, EDGE, FLAT, ITERATIONS, NOT_FINITE, RANK_DEFICIENT, RUNNING, SADDLE, STALLED
from .walk import Budget, Ended, Keep, Method, Walk, eps, first_of, fresh

FAR = 1e-4
"""Where Gauss–Newton would still go so far, beside the way so far, the Hessian is asked whether there is a minimum."""
BLIND = 5
"""Steps to take when no decrease can be seen any more."""
SLACK = 1e-6
"""By what part a step may exceed the radius."""
ENOUGH = 1e-4
"""A trial is taken if the decrease is this part of the foreseen one."""


class Residual(NamedTuple):
    """The problem, for x of shape (n,)."""

    residual: Callable[[Any], Any]
    """r(x), shape (m,)."""
    linearize: Callable[[Any], tuple[Any, Any]]
    """r(x) and J(x), shape (m, n)."""
    smooth: Smooth
    """½‖r(x)‖² and the bounds."""


class Model(NamedTuple):
    """The linearisation at x, in singular coordinates."""

    gradient: Any
    """Jᵀr"""
    free: Any
    """Which variables no bound holds, shape (n,)."""
    D: Any
    """The largest norms of J's columns so far, shape (n,)."""
    s: Any
    V: Any
    c: Any

    def rank(self, m: int) -> Any:
        """Which singular values are not rounding."""
        return self.s > 10 * max(m, self.D.size) * eps(self.s) * jnp.max(self.s)

    def step(self, z: Any) -> Any:
        """The step whose coefficients of the singular directions are z."""
        return (z @ self.V) / self.units

    @property
    def units(self) -> Any:
        """D, and 1 for a variable that J has not shown yet."""
        return jnp.where(self.D > 0, self.D, 1)

    def gauss_newton(self, m: int) -> Any:
        """The shortest minimiser of ‖r + Jp‖, as coefficients of the singular directions."""
        known = self.rank(m)
        return -jnp.where(known, self.c, 0) / jnp.where(known, self.s, 1)


class State(NamedTuple):
    walk: Walk
    x: Any
    x0: Any
    r: Any
    floor: Any
    """The rounding of r at the start; below it a root is near, if steps are short too."""
    model: Model
    damping: Any
    growth: Any
    blind: Any
    """How many steps were taken with no decrease to be seen."""
    stale: Any
    """Whether the model is of an earlier x."""


@dataclasses.dataclass(frozen=True)
class LeastSquares(Method):
    """The step that the methods share. Theirs is how a damping makes a move and a trial changes the damping."""

    @abstractmethod
    def damp(self, model: Model, x: Any) -> Any:
        """The first damping."""

    @abstractmethod
    def move(self, model: Model, damping: Any, m: int) -> Any:
        """The move D p for m residuals, as coefficients of the singular directions."""

    def bent(self, problem: Residual, model: Model, damping: Any, x: Any, p: Any, z: Any) -> Any:
        """The step that is tried in place of p, whose coefficients are z."""
        return p

    @abstractmethod
    def adjust(self, damping: Any, growth: Any, ratio: Any, length: Any) -> tuple[Any, Any]:
        """The next damping, after a trial of scaled `length` whose decrease was `ratio` times the foreseen one."""

    @property
    def bends(self) -> int:
        """How many second derivatives a trial takes."""
        return 0

    def begin(self, problem: Residual, x: Any, keep: Keep | None) -> State:
        n = x.size
        m = jax.eval_shape(problem.residual, x).shape[0]
        k = min(m, n)

        def zeros(*shape: int) -> Any:
            return jnp.zeros(shape, x.dtype)

        model = Model(zeros(n), jnp.ones(n, bool), zeros(n), zeros(k), zeros(k, n), zeros(k))
        one = jnp.ones((), x.dtype)
        return State(fresh(x, keep), x, x, zeros(m), one, model, one, 2 * one, jnp.int32(0), jnp.bool_(True))

    def step(self, problem: Residual, budget: Budget, w: State) -> State:
        w = jax.lax.cond(w.stale, lambda w: self._linearized(problem, budget, w), lambda w: w, w)
        model, m = w.model, w.r.size
        z = self.move(model, w.damping, m)
        v = problem.smooth.clipped(w.x + model.step(z)) - w.x
        p = self.bent(problem, model, w.damping, w.x, v, z)
        r = problem.residual(w.x + p)
        # r + Jp = r + U z up to what no p changes; the products with r ± r⁺ keep digits that ½‖r‖² − ½‖r⁺‖² cancels.
        z = model.s * (model.V @ (model.D * v))
        foreseen = -jnp.vdot(model.c, z) - jnp.vdot(z, z) / 2
        decrease = jnp.vdot(w.r - r, w.r + r) / 2
        finite = jnp.isfinite(decrease)
        ratio = jnp.where(finite & (foreseen > 0), decrease / jnp.where(foreseen > 0, foreseen, 1), -1.0)
        length = jnp.linalg.norm(model.D * p)
        running = w.walk.status == RUNNING
        # A decrease that the residual's rounding hides cannot be tested; there the model is right, and is followed a
        # few steps more: Gauss–Newton's error shrinks by a factor a step, which a test at √ε would cut off.
        noise = eps(w.x) * jnp.vdot(w.r, w.r) / 2
        # A step that bounds clip may lead up in earnest.
        hidden = (foreseen if problem.smooth.lower is None else jnp.abs(foreseen)) <= noise
        good = jnp.where(hidden, (decrease >= -10 * noise) & (w.blind < BLIND), ratio > ENOUGH)
        accept = running & good
        last = running & ~good & (hidden | (_part(p, w) <= eps(w.x)))
        damping, growth = self.adjust(w.damping, w.growth, jnp.where(hidden, 1.0, ratio), length)
        blur = jnp.sqrt(eps(w.x))
        slope = jnp.linalg.norm(jnp.where(model.rank(m), model.c, 0))
        distance = _part(model.step(model.gauss_newton(m)), w)
        settled = (distance <= blur) | (slope <= blur * jnp.linalg.norm(w.r))
        whole = jnp.sum(model.rank(m)) == jnp.sum(model.free)
        ended = first_of(
            (~finite, EDGE),
            (settled & (distance > FAR), FLAT),
            (settled & whole, CONVERGED),
            (settled, RANK_DEFICIENT),
            (True, STALLED),
        )
        walk = w.walk._replace(iterations=w.walk.iterations + running)
        walk = walk.called(running * (1 + 2 * self.bends), function=running, hvp=running * self.bends)
        spent = running & ~accept & budget.spent(walk)
        walk = walk._replace(status=jnp.where(last, ended, jnp.where(spent, ITERATIONS, walk.status)))
        walk = walk.saw(
            running,
            w.x,
            value=jnp.vdot(w.r, w.r) / 2,
            gradient_norm=self._norm(problem, w),
            step=jnp.linalg.norm(p),
            damping=w.damping,
            ratio=ratio,
        )
        return w._replace(
            walk=walk,
            x=jnp.where(accept, w.x + p, w.x),
            r=jnp.where(accept, r, w.r),
            damping=jnp.where(running, damping, w.damping),
            growth=jnp.where(running, growth, w.growth),
            blind=w.blind + hidden,
            stale=accept,
        )

    def _linearized(self, problem: Residual, budget: Budget, w: State) -> State:
        first = w.walk.evaluations.jacobian == 0
        r, J = problem.linearize(w.x)
        m = r.size
        gradient = r @ J
        free = problem.smooth.free(w.x, gradient)
        if problem.smooth.lower is not None:
            J = jnp.where(free[None, :], J, 0)
        norms = jnp.linalg.norm(J, axis=0)
        finite = jnp.isfinite(jnp.vdot(r, r)) & jnp.all(jnp.isfinite(norms))
        model = w.model._replace(gradient=gradient, free=free, D=jnp.maximum(norms, w.model.D))
        s, V, c = svd(jnp.where(finite, J / model.units[None, :], 0), r)
        model = model._replace(s=s, V=V, c=c)
        w = w._replace(r=r, model=model, stale=jnp.bool_(False))
        w = w._replace(
            damping=jnp.where(first, self.damp(model, w.x), w.damping),
            floor=jnp.where(first, eps(r) * jnp.linalg.norm(r), w.floor),
        )
        size = jnp.linalg.norm(r)
        slope = jnp.linalg.norm(jnp.where(model.rank(m), model.c, 0))
        distance = _part(model.step(model.gauss_newton(m)), w)
        done = (slope <= budget.tol * size) | (distance <= budget.tol) | (size == 0)
        done |= (size <= w.floor) & (distance <= jnp.sqrt(eps(r)))
        whole = jnp.sum(model.rank(m)) == jnp.sum(free)
        status = first_of(
            (~finite, NOT_FINITE),
            (done & (distance > FAR) & (size > w.floor), FLAT),
            (done & ~whole, RANK_DEFICIENT),
            (done, CONVERGED),
            (budget.spent(w.walk), ITERATIONS),
        )
        products = w.x.size if w.x.size <= 2 * m else m
        walk = w.walk._replace(status=status).called(products, function=jnp.where(first, 1, 0), jacobian=1)
        return w._replace(walk=walk.saw(True, w.x, value=size**2 / 2, gradient_norm=self._norm(problem, w)))

    def _norm(self, problem: Residual, w: State) -> Any:
        return jnp.max(jnp.abs(problem.smooth.projected(w.x, w.model.gradient)))

    def finish(self, problem: Residual, w: State) -> Ended:
        return self.examined(problem, self.found(problem, w), w.x0)

    def found(self, problem: Residual, w: State) -> Ended:
        """What `finish` gives, before the examination that a few statuses ask for."""
        model, m = w.model, w.r.size
        value = jnp.vdot(w.r, w.r) / 2
        known = model.rank(m)
        freedom = m - jnp.sum(model.free)
        half = jnp.where(known, 1 / jnp.where(known, model.s, 1), 0)[:, None] * model.V / model.units[None, :]
        covariance = half.T @ half * (2 * value / jnp.where(freedom > 0, freedom, jnp.nan))
        # A parameter is determined if no direction without a singular value moves it.
        seen = jnp.sum(jnp.where(known[:, None], model.V**2, 0), axis=0) > 1 - jnp.sqrt(eps(w.x))
        seen &= model.free
        covariance = jnp.where(seen[:, None] & seen[None, :], covariance, jnp.nan)
        status = w.walk.status
        # Where r is nothing but rounding so is Σ rᵢ rᵢ″, all that sets the Hessian apart from JᵀJ.
        doubtful = (status == STALLED) | (status == FLAT) | (_settled(status) & (value > w.floor**2 / 2))
        return Ended(w.walk, w.x, value, model.gradient, self._norm(problem, w), covariance, doubtful=doubtful)

    def examined(self, problem: Residual, end: Ended, x0: Any) -> Ended:
        """J alone cannot tell where r is not zero: where J is singular a minimum from a plain that never ends, and
        nowhere a minimum from a saddle. r″ can.
        """
        status = end.walk.status
        settled = _settled(status)
        asked = jnp.where(end.doubtful, jnp.where(settled, CONVERGED, STALLED), RUNNING).astype(jnp.int32)
        walk = certified(problem.smooth, end.walk._replace(status=asked), end.x, x0, end.value, end.gradient)
        better = end.doubtful & (~settled | (walk.status == SADDLE))
        return end._replace(walk=walk._replace(status=jnp.where(better, walk.status, status)))


def _settled(status: Any) -> Any:
    return (status == CONVERGED) | (status == RANK_DEFICIENT)


def _part(p: Any, w: State) -> Any:
    """How long a step is beside what it moves: the largest |pᵢ| / max(|xᵢ|, |xᵢ − x₀ᵢ|), whatever the units."""
    extent = jnp.maximum(jnp.abs(w.x), jnp.abs(w.x - w.x0))
    return jnp.max(jnp.where(p == 0, 0, jnp.abs(p) / extent))


@dataclasses.dataclass(frozen=True)
class LM(LeastSquares):
    """Levenberg–Marquardt: (JᵀJ + λD²) p = −Jᵀr, where D² is the largest diag(JᵀJ) so far (Moré, 1978).

        trust-region   λ is such that ‖D p‖ ≤ Δ, and Δ follows ρ (Moré, 1978, section 5)
        nielsen        λ itself follows ρ, by max(⅓, 1 − (2ρ − 1)³) (Nielsen, 1999, equation 2.5)

    with ρ the ratio of the decrease to the foreseen one. The first Δ is ‖D x₀‖: a start says of each variable only how
    large it is. A failed trial halves Δ, as Moré's own rule does where the residual does not grow much; to quarter it
    instead takes three times as many iterations on the hard NIST problems.

    With `accelerate` the geodesic acceleration a = −½ (JᵀJ + λD²)⁻¹ Jᵀ r″(p, p) is added where 2‖D a‖ ≤ ¾ ‖D p‖
    (Transtrum & Sethna, 2012, arXiv:1201.5885): one second directional derivative, counted as an hvp, for each trial.
    """

    damping: str = "trust-region"
    accelerate: bool = False

    def __post_init__(self) -> None:
        if self.damping not in ("trust-region", "nielsen"):
            raise unknown("damping of LM", self.damping, ("trust-region", "nielsen"), "optiscope.solvers.LM")

    def damp(self, model: Model, x: Any) -> Any:
        if self.damping == "nielsen":
            return 1e-3 * jnp.max(model.s) ** 2
        return first_radius(model, x)

    def move(self, model: Model, damping: Any, m: int) -> Any:
        return -self._filter(model, damping, m) * model.c

    def _filter(self, model: Model, damping: Any, m: int) -> Any:
        """s / (s² + λ): what JᵀJ + λD² makes of a right side Uᵀb."""
        lam = damping if self.damping == "nielsen" else _multiplier(model, damping, m)
        known = model.rank(m)
        return jnp.where(known, model.s / jnp.where(known, model.s**2 + lam, 1), 0)

    def bent(self, problem: Residual, model: Model, damping: Any, x: Any, p: Any, z: Any) -> Any:
        if not self.accelerate:
            return p
        (r, _), (_, bend) = jax.jvp(lambda y: jax.jvp(problem.residual, (y,), (p,)), (x,), (p,))
        # The decomposition keeps no U: Uᵀ r″ = s⁻¹ V D⁻¹ Jᵀ r″ needs one transposed derivative.
        (pulled,) = jax.vjp(problem.residual, x)[1](bend)
        known = model.rank(r.size)
        c = jnp.where(known, model.V @ (jnp.where(model.free, pulled, 0) / model.units), 0) / jnp.where(
            known, model.s, 1
        )
        a = -self._filter(model, damping, r.size) * c / 2
        gentle = 2 * jnp.linalg.norm(a) <= 0.75 * jnp.linalg.norm(z)
        return jnp.where(gentle, problem.smooth.clipped(x + p + model.step(a)) - x, p)

    @property
    def bends(self) -> int:
        return int(self.accelerate)

    def adjust(self, damping: Any, growth: Any, ratio: Any, length: Any) -> tuple[Any, Any]:
        if self.damping == "trust-region":
            return next_radius(damping, ratio, length), growth
        good = ratio > ENOUGH
        return (
            damping * jnp.where(good, jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3), growth),
            jnp.where(good, 2.0, 2 * growth),
        )


@dataclasses.dataclass(frozen=True)
class Dogleg(LeastSquares):
    """Powell's dogleg: along the gradient to its minimum, and on towards the Gauss–Newton step, until ‖D p‖ = Δ
    (Powell, 1970; Nocedal & Wright, 2006, equation 4.16)."""

    def damp(self, model: Model, x: Any) -> Any:
        return first_radius(model, x)

    def move(self, model: Model, damping: Any, m: int) -> Any:
        known = model.rank(m)
        newton = model.gauss_newton(m)
        g = jnp.where(known, model.s * model.c, 0)
        gg, Jg = jnp.vdot(g, g), model.s * g
        cauchy = -gg / jnp.where(gg > 0, jnp.vdot(Jg, Jg), 1) * g
        on = newton - cauchy
        a, b, c = jnp.vdot(on, on), jnp.vdot(cauchy, on), jnp.vdot(cauchy, cauchy) - damping**2
        tau = (-b + jnp.sqrt(jnp.maximum(b**2 - a * c, 0))) / jnp.where(a > 0, a, 1)
        size = jnp.linalg.norm(cauchy)
        short = cauchy * damping / jnp.where(size > 0, size, 1)
        return jnp.where(
            jnp.linalg.norm(newton) <= damping, newton, jnp.where(size >= damping, short, cauchy + tau * on)
        )

    def adjust(self, damping: Any, growth: Any, ratio: Any, length: Any) -> tuple[Any, Any]:
        return next_radius(damping, ratio, length), growth


@dataclasses.dataclass(frozen=True)
class GaussNewton(LeastSquares):
    """Gauss–Newton, p = −t J⁺r with t halved until the residual falls enough, and 1 at every new point.

    Where J lacks rank the step is the shortest. The method knows no other caution: far from a minimum prefer `lm`.
    """

    def damp(self, model: Model, x: Any) -> Any:
        return jnp.ones((), x.dtype)

    def move(self, model: Model, damping: Any, m: int) -> Any:
        return damping * model.gauss_newton(m)

    def adjust(self, damping: Any, growth: Any, ratio: Any, length: Any) -> tuple[Any, Any]:
        return jnp.where(ratio > ENOUGH, 1.0, damping / 2), growth


def first_radius(model: Model, x: Any) -> Any:
    """‖D x‖, or at the origin how much of the residual J can take away, which is in the same unit."""
    size = jnp.linalg.norm(model.D * x)
    return jnp.where(size > 0, size, jnp.linalg.norm(model.c))


def next_radius(radius: Any, ratio: Any, length: Any) -> Any:
    """Half the step after a poor trial, at least twice the step after a good one."""
    smaller, larger = jnp.minimum(radius, length) / 2, jnp.maximum(radius, 2 * length)
    return jnp.where(ratio < 0.25, smaller, jnp.where(ratio > 0.75, larger, radius))


def _multiplier(model: Model, radius: Any, m: int) -> Any:
    """The λ ≥ 0 at which ‖D p(λ)‖ = Δ, or 0 where Gauss–Newton's step is shorter (Moré, 1978, algorithm 5.5).

    Hebden's iteration on 1/‖D p‖ − 1/Δ, which is concave and nearly linear in λ: from the left it converges without
    overshooting.
    """
    known = model.rank(m)
    s, c = jnp.where(known, model.s, 1), jnp.where(known, model.c, 0)

    def length(lam: Any) -> tuple[Any, Any]:
        """‖D p‖ and its derivative with the sign turned."""
        z = s * c / (s**2 + lam)
        size = jnp.linalg.norm(z)
        return size, jnp.sum(z**2 / (s**2 + lam)) / jnp.where(size > 0, size, 1)

    def hebden(state: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        k, lam, size, fall = state
        lam = jnp.maximum(lam + size / radius * (size - radius) / jnp.where(fall > 0, fall, 1), 0)
        return k + 1, lam, *length(lam)

    def far(state: tuple[Any, Any, Any, Any]) -> Any:
        return (state[0] < 10) & (state[2] > (1 + SLACK) * radius)

    zero = jnp.zeros_like(radius)
    return jax.lax.while_loop(far, hebden, (jnp.int32(0), zero, *length(zero)))[1]
