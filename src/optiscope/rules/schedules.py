"""Schedules: a hyperparameter as a function of the number k of steps already taken, 0 at the first step.

A schedule is a value like a rule: its numbers are leaves, `schedule(k, xp)` is array code, and no branch depends on a
value. Counts of steps are numbers too. `Scheduled(rule, lr=Cosine(1e-3, 1000))` puts one in a rule's field.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from abc import ABC, abstractmethod
from typing import Any, TypeVar, dataclass_transform

from ..errors import BadInput
from ..values import value

S = TypeVar("S", bound="Schedule")

_POSITIVE = ("steps", "every", "scale", "timescale")


class Schedule(ABC):
    """A number for every step."""

    @abstractmethod
    def __call__(self, k: Any, xp: Any) -> Any:
        """The value after `k` steps: a scalar array of `xp`'s, or a float where k is a Python number."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            given = getattr(self, field.name)
            given = tuple(given) if isinstance(given, list) else given
            read = tuple(map(self._read, given)) if isinstance(given, tuple) else self._read(given, field.name)
            object.__setattr__(self, field.name, read)

    def _read(self, given: Any, field: str = "") -> Any:
        """A plain number as a float, for JAX differentiates no int; what is no number of ours to read, as it is."""
        if given is None or isinstance(given, Schedule) or hasattr(given, "shape"):
            return given
        plain = isinstance(given, numbers.Real) and not isinstance(given, bool)
        try:
            plain = plain and not math.isnan(given)
        except OverflowError:  # a whole number beyond the largest float
            plain = False
        if not plain or (field in _POSITIVE and given <= 0):
            wanted = "> 0" if field in _POSITIVE else "a number"
            raise BadInput(f"{type(self).__name__}: {field or 'each of the values'} must be {wanted}, not {given!r}")
        return float(given)


def _check_schedule(owner: str, name: str, given: Any) -> None:
    if not isinstance(given, Schedule):
        raise BadInput(f"{owner}: {name} must be a schedule, such as Constant(0.1), not {given!r}")


def _check_boundaries(owner: str, part: str, parts: tuple, boundaries: tuple) -> None:
    if len(parts) != len(boundaries) + 1:
        raise BadInput(
            f"{owner} needs one {part} more than boundaries, not {len(parts)} {part}s for {len(boundaries)} boundaries"
        )
    # Where one falls, the part before it would never be seen. What is no number may be traced.
    plain = [boundary for boundary in boundaries if isinstance(boundary, float)]
    if plain != sorted(plain):
        raise BadInput(f"{owner}: boundaries must rise, not {boundaries}")


@dataclass_transform(frozen_default=True)
def schedule(cls: type[S]) -> type[S]:
    """Declare a schedule."""
    return value(cls)


@schedule
class Constant(Schedule):
    """The same value always."""

    initial: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial + 0.0 * k


@schedule
class InverseTime(Schedule):
    """initial / (1 + k / timescale) (Robbins & Monro, 1951); Keras' legacy `decay` is 1 / timescale."""

    initial: float
    timescale: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial / (1 + _ratio(k, self.timescale))


@schedule
class InverseSqrt(Schedule):
    """initial / √(k + 1): the t^−½ of online convex optimisation (Zinkevich, 2003)."""

    initial: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial / (k + 1) ** 0.5


@schedule
class Step(Schedule):
    """initial · factor^⌊k / every⌋."""

    initial: float
    factor: float
    every: float

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial * self.factor ** (k // self.every)


@schedule
class Exponential(Schedule):
    """initial · factor^(k / scale): the same decay, smooth."""

    initial: float
    factor: float
    scale: float = 1.0

    def __call__(self, k: Any, xp: Any) -> Any:
        return self.initial * self.factor ** _ratio(k, self.scale)


@schedule
class Piecewise(Schedule):
    """values[i] from step boundaries[i − 1] on, values[0] before the first boundary."""

    boundaries: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_boundaries("Piecewise", "value", self.values, self.boundaries)

    def __call__(self, k: Any, xp: Any) -> Any:
        return _choose(k, self.boundaries, self.values, xp)


@schedule
class Polynomial(Schedule):
    """From initial to final in `steps` steps along (1 − k / steps)^power; power 1 is linear."""

    initial: float
    final: float
    steps: float
    power: float = 1.0

    def __call__(self, k: Any, xp: Any) -> Any:
        left = 1 - _progress(k, self.steps, xp)
        return self.final + (self.initial - self.final) * left**self.power


@schedule
class Cosine(Schedule):
    """From initial to final in `steps` steps along half a cosine (Loshchilov & Hutter, 2017, equation 5)."""

    initial: float
    steps: float
    final: float = 0.0

    def __call__(self, k: Any, xp: Any) -> Any:
        turn = xp.cos(math.pi * _progress(k, self.steps, xp))
        return self.final + (self.initial - self.final) * (1 + turn) / 2


@schedule
class LinearWarmup(Schedule):
    """From `initial` to `peak` in `steps` steps, linearly; then `then` from its own beginning, or peak."""

    peak: float
    steps: float
    initial: float = 0.0
    then: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.then is not None:
            _check_schedule("LinearWarmup", "then", self.then)

    def __call__(self, k: Any, xp: Any) -> Any:
        rise = self.initial + (self.peak - self.initial) * _progress(k, self.steps, xp)
        return rise if self.then is None else _switch(k, self.steps, rise, self.then, xp)


@schedule
class OneCycle(Schedule):
    """One cycle (Smith & Topin, 2018): up to `peak` in the first `rise` of the steps and down again, by half cosines.

    It starts at peak / start_factor and ends at peak / (start_factor · end_factor), as torch's OneCycleLR does.
    """

    peak: float
    steps: float
    rise: float = 0.3
    start_factor: float = 25.0
    end_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers_given = all(isinstance(x, numbers.Real) for x in (self.rise, self.steps))
        if numbers_given and not 1 < self.rise * self.steps < self.steps:
            raise BadInput(
                f"OneCycle: the rise must take more than 1 of the {self.steps} steps and leave some for the way down, "
                f"so {self.rise} must lie between 1 / steps and 1"
            )

    def __call__(self, k: Any, xp: Any) -> Any:
        start = self.peak / self.start_factor
        top = self.rise * self.steps - 1
        up = Cosine(start, top, self.peak)(k, xp)
        down = Cosine(self.peak, self.steps - 1 - top, start / self.end_factor)
        return _switch(k, top, up, down, xp)


@schedule
class Chained(Schedule):
    """Schedules one after another: the next begins, at its own k = 0, where `boundaries` says."""

    schedules: tuple[Schedule, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for given in self.schedules:
            _check_schedule("Chained", "schedules", given)
        _check_boundaries("Chained", "schedule", self.schedules, self.boundaries)

    def __call__(self, k: Any, xp: Any) -> Any:
        now = self.schedules[0](k, xp)
        for boundary, following in zip(self.boundaries, self.schedules[1:], strict=True):
            now = _switch(k, boundary, now, following, xp)
        return now


def _ratio(k: Any, n: Any) -> Any:
    # JAX divides an int32 by an int in float32, even where floats are 64 bits wide.
    return 1.0 * k / n


def _progress(k: Any, steps: Any, xp: Any) -> Any:
    """k / steps, held at 0 before the beginning and at 1 after the end."""
    return xp.clip(_ratio(k, steps), 0.0, 1.0)


def _switch(k: Any, boundary: Any, before: Any, following: Schedule, xp: Any) -> Any:
    # The later schedule is computed at every step, so it must not see a negative count: 1 / √(k + 1) would be NaN.
    since = (k - boundary) * (k >= boundary)
    return xp.where(k >= boundary, following(since, xp), before)


def _choose(k: Any, boundaries: tuple, values: tuple, xp: Any) -> Any:
    here = 0.0 * k  # carries k's dtype, so that torch does not fall back to its default one
    chosen = values[0] + here
    for boundary, later in zip(boundaries, values[1:], strict=True):
        chosen = xp.where(k >= boundary, later + here, chosen)
    return chosen
