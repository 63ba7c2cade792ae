"""Nonlinear least squares: min ½‖r(x)‖², by methods that model r by r + Jp.

All three share one step. D, the norms of J's columns, makes every method here indifferent to the variables' units;
J D⁻¹ = Q R by pivoted reflections tells the rank. A damped step solves [R; √λ I] z = [−Qᵀr; 0], again by reflections
(Moré, 1978): the normal equations would lose half the digits (the NIST problems have condition numbers to 10¹⁰), and a
singular value decomposition, for which every further λ would be free, costs ten times as much.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import unknown
from .box import boxed
from .certify import certified
from .smooth import Smooth
from .solution import CONVERGED, EDGE, FLAT, ITERATIONS, NOT_FINITE, RANK_DEFICIENT, RUNNING, SADDLE, STALLED
from .triangle import pivoted, pseudoinverse, solved, solved_transposed, triangle
from .walk import Budget, Ended, Keep, Method, Walk, eps, first_of, fresh, or_one

FAR = 1e-4
"""Where Gauss–Newton would still go so far, beside the way so far, the Hessian is asked whether there is a minimum."""
BLIND = 5
"""Steps to take when no decrease can be seen any more."""
SLACK = 0.01
"""By what part a step may exceed the radius: with Moré's 0.1 Brown & Dennis' function takes thrice as many steps."""
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
    """The linearisation at x, in the variables' units: z = D p."""

    gradient: Any
    """Jᵀr"""
    free: Any
    """Which variables no bound holds, shape (n,)."""
    D: Any
    """The largest norms of J's columns so far, shape (n,)."""
    R: Any
    """Of J D⁻¹ = Q R with the held variables' columns zero; its rows that are rounding are zero too, as is c there."""
    c: Any
    """Qᵀr"""
    inverse: Any
    """R⁺, shape (n, k)."""
    rank: Any
    every: tuple[Any, Any] | None
    """R and c with the columns of all variables, where there are bounds."""

    @property
    def units(self) -> Any:
        """D, and 1 for a variable that J has not shown yet."""
        return or_one(self.D)

    @property
    def whole(self) -> Any:
        """Whether J has full rank."""
        return self.rank == jnp.sum(self.free)

    @property
    def slope(self) -> Any:
        """How much of r lies in what J spans."""
        return jnp.linalg.norm(self.c)

    @property
    def newton(self) -> Any:
        """Gauss–Newton's step, the shortest minimiser of ‖R z + c‖, shape (n,)."""
        return -(self.inverse @ self.c)

    def damped(self, lam: Any) -> tuple[Any, Any]:
        """The minimiser z of ‖R z + c‖² + λ ‖z‖², and −d‖z‖/dλ."""
        T, c = self.triangle(lam)
        z = -solved(T, c)
        w = solved_transposed(T, z)
        return z, jnp.vdot(w, w) / or_one(jnp.linalg.norm(z))

    def of(self, J: Any, r: Any) -> Model:
        """The model of J D⁻¹ and r; gradient, free and D are given."""
        every = None if self.every is None else triangle(J, r)
        A, b = (J, r) if every is None else (jnp.where(self.free[None, :], every[0], 0), every[1])
        R, c, order, lengths = pivoted(A, b)
        known = lengths > 10 * max(J.shape) * eps(J) * lengths[0]
        R, c = jnp.where(known[:, None], R, 0), jnp.where(known, c, 0)
        rank = jnp.sum(known, dtype=jnp.int32)
        return self._replace(R=R, c=c, inverse=pseudoinverse(R, order, known), rank=rank, every=every)

    def triangle(self, lam: Any) -> tuple[Any, Any]:
        """T, upper triangular with TᵀT = RᵀR + λ I, and c turned alike. A held variable counts as a unit vector."""
        d = jnp.where(self.free, jnp.sqrt(lam), 1)
        return triangle(jnp.concatenate([self.R, jnp.diag(d)]), jnp.concatenate([self.c, jnp.zeros_like(d)]))


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
    def move(self, model: Model, damping: Any) -> tuple[Any, Any]:
        """The move z = D p, and the λ of ‖R z + c‖² + λ ‖z‖² that it minimises, for a method with bounds."""

    def bent(self, problem: Residual, model: Model, lam: Any, x: Any, there: Any) -> Any:
        """The point that is tried in place of where the move from x leads."""
        return there

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

        model = Model(
            gradient=zeros(n),
            free=jnp.ones(n, bool),
            D=zeros(n),
            R=zeros(k, n),
            c=zeros(k),
            inverse=zeros(n, k),
            rank=jnp.int32(0),
            every=None if problem.smooth.lower is None else (zeros(k, n), zeros(k)),
        )
        one = jnp.ones((), x.dtype)
        return State(fresh(x, keep), x, x, zeros(m), one, model, one, 2 * one, jnp.int32(0), jnp.bool_(True))

    def step(self, problem: Residual, budget: Budget, w: State) -> State:
        w = jax.lax.cond(w.stale, lambda w: self._linearized(problem, budget, w), lambda w: w, w)
        model, smooth = w.model, problem.smooth
        z, lam = self.move(model, w.damping)
        if model.every is None:
            R, c, there = model.R, model.c, w.x + z / model.units
        else:
            R, c = model.every
            low, high = model.units * (smooth.lower - w.x), model.units * (smooth.upper - w.x)
            z = boxed(R, c, lam, model.free, low, high)
            # On a bound, not beside it by rounding.
            there = jnp.where(z <= low, smooth.lower, jnp.where(z >= high, smooth.upper, w.x + z / model.units))
        v = there - w.x
        there = self.bent(problem, model, lam, w.x, there)
        p, r = there - w.x, problem.residual(there)
        # r + Jp = r + Q y up to what no p changes; the products with r ± r⁺ keep digits that ½‖r‖² − ½‖r⁺‖² cancels.
        y = R @ (model.D * v)
        foreseen = -jnp.vdot(c, y) - jnp.vdot(y, y) / 2
        decrease = jnp.vdot(w.r - r, w.r + r) / 2
        finite = jnp.isfinite(decrease)
        ratio = jnp.where(finite & (foreseen > 0), decrease / or_one(foreseen), -1.0)
        length = jnp.linalg.norm(model.D * p)
        running = w.walk.status == RUNNING
        # A decrease that the residual's rounding hides cannot be tested; there the model is right, and is followed a
        # few steps more: Gauss–Newton's error shrinks by a factor a step, which a test at √ε would cut off.
        noise = eps(w.x) * jnp.vdot(w.r, w.r) / 2
        hidden = foreseen <= noise
        good = jnp.where(hidden, (decrease >= -10 * noise) & (w.blind < BLIND), ratio > ENOUGH)
        accept = running & good
        last = running & ~good & (hidden | (_part(p, w) <= eps(w.x)))
        damping, growth = self.adjust(w.damping, w.growth, jnp.where(hidden, 1.0, ratio), length)
        blur = jnp.sqrt(eps(w.x))
        distance = _part(model.newton / model.units, w)
        settled = (distance <= blur) | (model.slope <= blur * jnp.linalg.norm(w.r))
        ended = first_of(
            (~finite, EDGE),
            (settled & (distance > FAR), FLAT),
            (settled & model.whole, CONVERGED),
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
            x=jnp.where(accept, there, w.x),
            r=jnp.where(accept, r, w.r),
            damping=jnp.where(running, damping, w.damping),
            growth=jnp.where(running, growth, w.growth),
            blind=w.blind + hidden,
            stale=accept,
        )

    def _linearized(self, problem: Residual, budget: Budget, w: State) -> State:
        first = w.walk.evaluations.jacobian == 0
        r, J = problem.linearize(w.x)
        gradient = r @ J
        norms = jnp.linalg.norm(J, axis=0)
        finite = jnp.isfinite(jnp.vdot(r, r)) & jnp.all(jnp.isfinite(norms))
        free = problem.smooth.free(w.x, gradient)
        model = w.model._replace(gradient=gradient, free=free, D=jnp.maximum(norms, w.model.D))
        model = model.of(jnp.where(finite, J / model.units[None, :], 0), r)
        w = w._replace(r=r, model=model, stale=jnp.bool_(False))
        w = w._replace(
            damping=jnp.where(first, self.damp(model, w.x), w.damping),
            floor=jnp.where(first, eps(r) * jnp.linalg.norm(r), w.floor),
        )
        size = jnp.linalg.norm(r)
        distance = _part(model.newton / model.units, w)
        done = (model.slope <= budget.tol * size) | (distance <= budget.tol) | (size == 0)
        done |= (size <= w.floor) & (distance <= jnp.sqrt(eps(r)))
        status = first_of(
            (~finite, NOT_FINITE),
            (done & (distance > FAR) & (size > w.floor), FLAT),
            (done & ~model.whole, RANK_DEFICIENT),
            (done, CONVERGED),
            (budget.spent(w.walk), ITERATIONS),
        )
        products = w.x.size if w.x.size <= 2 * r.size else r.size
        walk = w.walk._replace(status=status).called(products, function=jnp.where(first, 1, 0), jacobian=1)
        return w._replace(walk=walk.saw(True, w.x, value=jnp.vdot(r, r) / 2, gradient_norm=self._norm(problem, w)))

    def _norm(self, problem: Residual, w: State) -> Any:
        return jnp.max(jnp.abs(problem.smooth.projected(w.x, w.model.gradient)))

    def finish(self, problem: Residual, w: State) -> Ended:
        return self.examined(problem, self.found(problem, w), w.x0)

    def found(self, problem: Residual, w: State) -> Ended:
        """What `finish` gives, before the examination that a few statuses ask for."""
        model, m = w.model, w.r.size
        value = jnp.vdot(w.r, w.r) / 2
        freedom = m - jnp.sum(model.free)
        half = model.inverse / model.units[:, None]
        covariance = half @ half.T * (2 * value / jnp.where(freedom > 0, freedom, jnp.nan))
        # The data determine a variable that lies in the span of R's rows.
        seen = jnp.sum(model.inverse * model.R.T, axis=1) > 1 - jnp.sqrt(eps(w.x))
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
            return 1e-3 * jnp.max(jnp.sum(model.R**2, axis=0))
        return first_radius(model, x)

    def move(self, model: Model, damping: Any) -> tuple[Any, Any]:
        if self.damping == "nielsen":
            return model.damped(damping)[0], damping
        return within(model, damping)

    def bent(self, problem: Residual, model: Model, lam: Any, x: Any, there: Any) -> Any:
        if not self.accelerate:
            return there
        p = there - x
        _, (_, bend) = jax.jvp(lambda y: jax.jvp(problem.residual, (y,), (p,)), (x,), (p,))
        # The factors keep no Q: Qᵀ r″ = R⁻ᵀ D⁻¹ Jᵀ r″ needs one transposed derivative.
        (pulled,) = jax.vjp(problem.residual, x)[1](bend)
        T, _ = model.triangle(lam)
        a = -solved(T, solved_transposed(T, jnp.where(model.free, pulled, 0) / model.units)) / 2
        gentle = 2 * jnp.linalg.norm(a) <= 0.75 * jnp.linalg.norm(model.D * p)
        return jnp.where(gentle, problem.smooth.clipped(there + a / model.units), there)

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

    def move(self, model: Model, damping: Any) -> tuple[Any, Any]:
        newton, g = model.newton, model.c @ model.R
        gg, Jg = jnp.vdot(g, g), model.R @ g
        cauchy = -gg / or_one(jnp.vdot(Jg, Jg)) * g
        on = newton - cauchy
        a, b, c = jnp.vdot(on, on), jnp.vdot(cauchy, on), jnp.vdot(cauchy, cauchy) - damping**2
        tau = (-b + jnp.sqrt(jnp.maximum(b**2 - a * c, 0))) / or_one(a)
        size = jnp.linalg.norm(cauchy)
        short = cauchy * damping / or_one(size)
        bent = jnp.where(size >= damping, short, cauchy + tau * on)
        return jnp.where(jnp.linalg.norm(newton) <= damping, newton, bent), 0

    def adjust(self, damping: Any, growth: Any, ratio: Any, length: Any) -> tuple[Any, Any]:
        return next_radius(damping, ratio, length), growth


@dataclasses.dataclass(frozen=True)
class GaussNewton(LeastSquares):
    """Gauss–Newton, p = −t J⁺r with t halved until the residual falls enough, and 1 at every new point.

    Where J lacks rank the step is the shortest. The method knows no other caution: far from a minimum prefer `lm`.
    """

    def damp(self, model: Model, x: Any) -> Any:
        return jnp.ones((), x.dtype)

    def move(self, model: Model, damping: Any) -> tuple[Any, Any]:
        return damping * model.newton, 0

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


def within(model: Model, radius: Any) -> tuple[Any, Any]:
    """z of length Δ, and the λ ≥ 0 that makes it so; Gauss–Newton's step and 0 where that is shorter (Moré, 1978,
    algorithm 5.5).

    Hebden's iteration on 1/‖z‖ − 1/Δ, which is concave and nearly linear in λ: from the left it converges without
    overshooting.
    """

    def hebden(state: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        k, lam, z, fall = state
        size = jnp.linalg.norm(z)
        lam = jnp.maximum(lam + size / radius * (size - radius) / or_one(fall), 0)
        return k + 1, lam, *model.damped(lam)

    def far(state: tuple[Any, Any, Any, Any]) -> Any:
        return (state[0] < 10) & (jnp.linalg.norm(state[2]) > (1 + SLACK) * radius)

    z = model.newton
    fall = jnp.sum((z @ model.inverse) ** 2) / or_one(jnp.linalg.norm(z))
    begin = jnp.int32(0), jnp.zeros_like(radius), z, fall
    _, lam, z, _ = jax.lax.while_loop(far, hebden, begin)
    return z, lam
