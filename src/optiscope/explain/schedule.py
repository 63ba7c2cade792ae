"""The schedule that a rule keeps without being told: its effective learning rate from step to step, left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from .. import rules
from ..rules.schedules import Schedule
from .rest import Rest

LEVEL = 0.02
"""A rate that changes by less than this share of its peak is called constant."""
EQUAL = 1e-9
TRUE = 1e-6
"""A fit whose error is below this share of the peak is the law itself."""
LAWS = {1.0: "1/(1 − {:.4g}ᵗ)", 0.5: "1/√(1 − {:.4g}ᵗ)"}
"""What an average that begins at zero makes of a rate, by the power of 1 − βᵗ."""


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedSchedule:
    """The effective learning rate by step, and its shape in words."""

    rates: np.ndarray
    """− ∂S/∂g at each of T steps of the rule left alone, shape (T,)."""
    shape: str
    """"constant", "zero start", "warm-up", "decay", "warm-up and decay", "dip", "fall and rise", or "none" where
    nothing moves."""
    words: str
    """The shape with its figures."""
    fit: Schedule | None
    """A schedule that says the same, of k = 0 … T − 1; None for "none"."""
    error: float
    """The root-mean-square error of the fit, as a share of the peak."""
    begins: np.ndarray | float = 1.0
    """What an average's beginning at zero, or a sum's growth, multiplies the schedule by, shape (T,), where a schedule
    lies beneath one."""

    @property
    def present(self) -> bool:
        """Whether the rule schedules anything; the zero start of an average belongs to that."""
        return self.shape not in ("constant", "zero start", "none")

    @property
    def peak_at(self) -> int:
        """After how many steps the rate is highest."""
        return int(np.argmax(np.abs(self.rates / self.begins)))

    @property
    def peak(self) -> float:
        return float((self.rates / self.begins)[self.peak_at])


def schedule(alone: Rest) -> LearnedSchedule:
    """Name the effective learning rate of a rule left alone.

    Where averages begin at zero, as Adam's and RMSProp's, or a sum grows, as AdaGrad's, a schedule shows only once
    their law is divided out; it was one if what is left is exactly a schedule.
    """
    found = named(alone.rates)
    if not found.present or found.error < TRUE or not alone.parts.records.any():
        return found
    t = np.arange(1, len(alone.states))
    kept = np.diag(alone.linear(alone.states[-1], len(t)).F_h[0])
    averages = np.unique(kept[(kept > 0) & (kept < 1)])
    above = [((1 - beta**t) ** -power, "") for beta in averages for power in LAWS]
    if 1 in kept:
        above.append((t**-0.5, ", times 1/√t"))
    for begins, law in above:
        beneath = named(alone.rates / begins)
        if beneath.error < TRUE:
            return dataclasses.replace(beneath, words=beneath.words + law, rates=alone.rates, begins=begins)
    return found


def named(rates: np.ndarray) -> LearnedSchedule:
    """Name a sequence of rates, shape (T,)."""
    if not np.isfinite(rates).all() or not rates.any():
        return LearnedSchedule(rates, "none", "no step is taken on a small gradient", None, 0.0)
    top = int(np.argmax(np.abs(rates)))
    peak, first, last = float(rates[top]), float(rates[0]), float(rates[-1])
    if np.ptp(rates) < LEVEL * abs(peak):
        mean = float(rates.mean())
        return _made(rates, "constant", f"constant at {mean:.3g}", rules.Constant(mean))
    corrected = _zero_start(rates)
    if corrected is not None:
        law, error = corrected
        words = f"constant but for an average's beginning at zero, {law}"
        return LearnedSchedule(rates, "zero start", words, rules.Constant(last), error)
    rises, falls = (end < (1 - LEVEL) * abs(peak) for end in (first * np.sign(peak), last * np.sign(peak)))
    # A plateau at the peak belongs to neither side.
    level = np.flatnonzero(np.abs(rates - peak) <= EQUAL * abs(peak))
    start, end = int(level[0]), int(level[-1])
    if not falls and not rises:
        words = f"a dip from {peak:.3g} to {float(rates[np.argmin(np.abs(rates))]):.3g} and back"
        return _made(rates, "dip", words, rules.Constant(float(rates.mean())))
    if not falls:
        settled = int(np.argmax(rates * np.sign(peak) >= (1 - LEVEL) * abs(peak)))
        words = f"warm-up from {first:.3g} to {peak:.3g} in {settled} steps"
        # One that creeps to its peak is at its end long before.
        ends = (rules.LinearWarmup(peak, float(max(end, 1)), first) for end in (start, settled))
        return min((_made(rates, "warm-up", words, fit) for fit in ends), key=lambda made: made.error)
    least = int(np.argmin(rates * np.sign(peak)))
    bottom = float(rates[least])
    if not rises and (last - bottom) * np.sign(peak) > LEVEL * abs(peak):
        back = rules.LinearWarmup(last, float(len(rates) - 1 - least), bottom)
        there_and_back = rules.Chained((_decay(rates[end : least + 1])[0], back), (float(least - end),))
        words = f"a fall from {peak:.3g} to {bottom:.3g} in {least} steps, then a rise to {last:.3g}"
        return _made(rates, "fall and rise", words, there_and_back)
    down, way = _decay(rates[end:])
    if not rises:
        then = down if end == 0 else rules.Chained((rules.Constant(peak), down), (float(end),))
        held = f" after {end} steps at {peak:.3g}" if end else ""
        return _made(rates, "decay", f"{way} decay from {peak:.3g} to {last:.3g}{held}", then)
    then = down if end == start else rules.Chained((rules.Constant(peak), down), (float(end - start),))
    fit = rules.LinearWarmup(peak, float(start), first, then)
    words = f"warm-up from {first:.3g} to {peak:.3g} in {start} steps, then {way} decay to {last:.3g}"
    return _made(rates, "warm-up and decay", words, fit)


def _made(rates: np.ndarray, shape: str, words: str, fit: Schedule) -> LearnedSchedule:
    told = np.array([float(fit(float(k), np)) for k in range(len(rates))])
    error = float(np.sqrt(np.mean((told - rates) ** 2)) / np.abs(rates).max())
    return LearnedSchedule(rates, shape, words, fit, error)


def _zero_start(rates: np.ndarray) -> tuple[str, float] | None:
    """The law, where the rates follow one of an average that begins at zero, and the error.

    Corrected, as Adam's mean, it leaves r / (1 − βᵗ); uncorrected under the root, as RMSProp's, r / √(1 − βᵗ).
    """
    if not rates[-1] * rates[0] > 0:
        return None
    t = np.arange(1, len(rates) + 1)
    for power, law in LAWS.items():
        beta = 1 - (rates[-1] / rates[0]) ** (1 / power)
        for _ in range(50):  # the last rate is not yet at its limit where β is near 1
            beta = 1 - (rates[-1] / rates[0] * (1 - beta ** t[-1]) ** power) ** (1 / power) if 0 < beta < 1 else beta
        if 0 < beta < 1:
            told = rates[0] * ((1 - beta) / (1 - beta**t)) ** power
            error = float(np.sqrt(np.mean((told - rates) ** 2)) / np.abs(rates).max())
            if error < TRUE:
                return law.format(beta), error
    return None


def _decay(rates: np.ndarray) -> tuple[Schedule, str]:
    """The decay that fits best, starting at its highest, and its name."""
    steps, start, last = float(len(rates)), float(rates[0]), float(rates[-1])
    jumps = np.flatnonzero(np.abs(np.diff(rates)) > EQUAL * np.abs(rates).max()) + 1
    if len(jumps) <= len(rates) / 8:
        values = (start, *(float(rates[j]) for j in jumps))
        return rules.Piecewise(tuple(map(float, jumps)), values), "stepwise"
    half = start - (start - last) / 2
    middle = float(np.argmax((rates - half) * np.sign(start - last) <= 0))
    laws: list[tuple[str, Callable[..., Schedule], list[float]]] = [
        ("linear", lambda b, n: rules.Polynomial(start, b, n), [last, steps - 1]),
        ("linear", lambda b, n: rules.Polynomial(start, b, n), [last, 2 * middle]),
        ("cosine", lambda b, n: rules.Cosine(start, n, b), [last, steps - 1]),
        ("cosine", lambda b, n: rules.Cosine(start, n, b), [last, 2 * middle]),
        ("exponential", lambda b, n: _Relaxed(start, b, n), [last, middle]),
        ("1/t", lambda n: rules.InverseTime(start, n), [max(middle, 1.0)]),
        ("1/√t", lambda n: _InverseRoot(start, n), [max(middle, 1.0)]),
    ]
    found = []
    for name, law, guess in laws:
        k = np.arange(len(rates), dtype=float)

        def off(p: np.ndarray, law: Callable[..., Schedule] = law, k: np.ndarray = k) -> np.ndarray:
            # The count of steps is sought by its logarithm: it is positive.
            return (np.asarray(law(*p[:-1], float(np.exp(p[-1])))(k, np)) - rates) / abs(start)

        solved = least_squares(
            off,
            [*guess[:-1], np.log(max(guess[-1], 1.0))],
            x_scale=[*[abs(start)] * (len(guess) - 1), 1.0],
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        )
        found.append((float(solved.cost), name, law(*map(float, solved.x[:-1]), float(np.exp(solved.x[-1])))))
    _, name, law_found = min(found, key=lambda f: f[0])
    return law_found, name


@rules.schedule
class _Relaxed(Schedule):
    """final + (initial − final) · exp(− k / timescale)."""

    initial: float
    final: float
    timescale: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.final + (self.initial - self.final) * xp.exp(-1.0 * k / self.timescale)


@rules.schedule
class _InverseRoot(Schedule):
    """initial / √(1 + k / timescale)."""

    initial: float
    timescale: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial / (1 + 1.0 * k / self.timescale) ** 0.5
