"""Rules that hold a rule: clipping, weight decay, schedules. They nest in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput, unknown
from ..values import static
from .contract import Rule, State, hyper, rule
from .schedules import Schedule
from .spaces import LogUniform, Space, Uniform


class Wrapper(Rule):
    """A rule that holds a rule and keeps no state of its own."""

    rule: Rule

    @property
    def elementwise(self) -> bool:
        return self.rule.elementwise

    def init(self, param: Any, xp: Any) -> State:
        return self.rule.init(param, xp)

    def numbers(self) -> dict[str, Any]:
        return {**self.rule.numbers(), **super().numbers()}

    def spaces(self) -> dict[str, Space]:
        return {**self.rule.spaces(), **super().spaces()}

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise BadInput(f"{self.name} wraps a rule, such as osc.Adam(); it was given {self.rule!r}")
        super().__post_init__()


@rule
class ClipByValue(Wrapper):
    """Clip each entry of the gradient to [−limit, limit] before the rule sees it."""

    rule: Rule
    limit: float = hyper(1.0, LogUniform(1e-3, 1e3))

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        return self.rule.update(xp.clip(grad, -self.limit, self.limit), state, param, t, xp)


@rule
class ClipByNorm(Wrapper):
    """Scale the gradient of each array down to Euclidean norm `limit` where it is longer (Pascanu et al., 2013)."""

    rule: Rule
    limit: float = hyper(1.0, LogUniform(1e-3, 1e3))

    @property
    def elementwise(self) -> bool:
        return False

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        # The maximum inside the root: at a gradient of 0 the root of its square would have no derivative.
        excess = xp.sum(grad * grad) / self.limit**2
        return self.rule.update(grad / xp.sqrt(xp.maximum(excess, xp.ones_like(excess))), state, param, t, xp)


@rule
class L2(Wrapper):
    """L2 regularisation: `weight_decay` · θ joins the gradient, so that the rule adapts to it too."""

    rule: Rule
    weight_decay: float = hyper(1e-4, LogUniform(1e-6, 1.0))

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        return self.rule.update(grad + self.weight_decay * param, state, param, t, xp)


@rule
class WeightDecay(Wrapper):
    """Decoupled weight decay (Loshchilov & Hutter, 2019): the step is lengthened by − lr · weight_decay · θ.

    lr is the held rule's. A schedule goes outside, `Scheduled(WeightDecay(Adam()), lr=…)`, so that both follow it,
    and so does `Annealed`.
    """

    rule: Rule
    weight_decay: float = hyper(1e-2, LogUniform(1e-6, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        held = self.rule
        while isinstance(held, Wrapper) and not isinstance(held, Scheduled | Annealed):
            held = held.rule
        if isinstance(held, Annealed):
            raise BadInput(
                "weightdecay would not follow annealed's lr; put Annealed outside: Annealed(WeightDecay(rule))"
            )
        if isinstance(held, Scheduled) or not hasattr(held, "lr"):
            raise BadInput(
                f"weightdecay scales with the lr of the rule it holds, and {held.name} has none to read; "
                "put Scheduled outside: Scheduled(WeightDecay(rule), lr=...)"
            )

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        step, state = self.rule.update(grad, state, param, t, xp)
        held: Any = self.rule
        while isinstance(held, Wrapper):
            held = held.rule
        return step - held.lr * self.weight_decay * param, state


@rule
class Scheduled(Wrapper):
    """A rule some of whose fields follow a schedule: `Scheduled(Adam(), lr=Cosine(1e-3, 1000), b1=...)`.

    A field of a rule further inside is found there.

    Raises:
        BadInput: a field is not a hyperparameter of the rule, or follows another schedule further inside, or what it is
            given is not a schedule.
    """

    rule: Rule
    schedules: dict[str, Schedule]

    def __init__(self, rule: Rule, schedules: dict[str, Schedule] | None = None, **fields: Schedule) -> None:
        if isinstance(schedules, Schedule):
            raise BadInput(f"scheduled: say which field follows {schedules!r}, such as Scheduled(rule, lr=...)")
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "schedules", {**(schedules or {}), **fields})
        self.__post_init__()

    def __hash__(self) -> int:
        return hash((self.rule, frozenset(self.schedules.items())))

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, given in self.schedules.items():
            known = _hypers_within(self.rule)
            if field not in known:
                raise unknown(f"hyperparameter of {self.rule.name}", field, known, "'optiscope rules'")
            if not isinstance(given, Schedule):
                raise BadInput(f"scheduled: {field} needs a schedule, such as Constant(0.1), not {given!r}")
            if field in driven(self.rule):
                raise BadInput(f"scheduled: {field} follows a schedule further inside, which would hide this one")

    def spaces(self) -> dict[str, Space]:
        return {field: space for field, space in super().spaces().items() if field not in self.schedules}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        now = {field: _plain(schedule(t - 1, xp)) for field, schedule in self.schedules.items()}
        return self.rule.replace(**now).update(grad, state, param, t, xp)


@rule
class Annealed(Wrapper):
    """A rule whose lr rises and falls over a run of `steps` steps: a schedule with numbers that can be tuned.

        rise = t / (1 + warmup · steps), at most 1
        left = 1 − (t − 1 − warmup · steps) / ((1 − warmup) · steps), in [0, 1]
        lr · rise · (final + (1 − final) · left^power)

    Power 1 is the linear decay after a warm-up of Goyal et al. (2017); final = 1 leaves the lr as it is.
    """

    rule: Rule
    steps: int = static()
    warmup: float = hyper(0.0, Uniform(0.0, 0.5))
    power: float = hyper(1.0, LogUniform(0.25, 4.0))
    final: float = hyper(0.0, LogUniform(1e-3, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise BadInput(f"annealed: steps must be a whole number ≥ 1, not {self.steps!r}")
        if "lr" not in self.rule.spaces():
            raise BadInput(f"annealed moves the lr of the rule it holds, and {self.rule.name} has none that is free")

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        risen = self.warmup * self.steps
        rise = xp.clip(1.0 * t / (1 + risen), 0.0, 1.0)
        left = 1 - xp.clip((t - 1.0 - risen) / (self.steps - risen), 0.0, 1.0)
        factor = rise * (self.final + (1 - self.final) * left**self.power)
        lr = self.rule.numbers()["lr"] * factor
        return self.rule.replace(lr=_plain(lr)).update(grad, state, param, t, xp)


def _plain(number: Any) -> Any:
    # NumPy's own float64 numbers would lift a float32 parameter's whole computation to float64; Python's do not.
    return number.item() if isinstance(number, np.ndarray | np.generic) else number


def driven(rule: Rule) -> set[str]:
    """The fields of a rule, and of the rules inside it, that follow a schedule."""
    inside = driven(rule.rule) if isinstance(rule, Wrapper) else set()
    return inside | (rule.schedules.keys() if isinstance(rule, Scheduled) else set())


def _hypers_within(held: Rule) -> list[str]:
    inner = _hypers_within(held.rule) if isinstance(held, Wrapper) else []
    return [*held.hypers(), *inner]
