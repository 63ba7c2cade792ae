"""Search spaces: where tuning draws a hyperparameter from, and which values have a meaning at all."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ..errors import BadInput


@dataclasses.dataclass(frozen=True)
class Space(ABC):
    """A distribution over [low, high]. The values that are *valid* may be more than those worth trying."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise BadInput(f"a search space needs finite bounds, low < high, not {self.low} and {self.high}")

    @abstractmethod
    def quantile(self, u: Any) -> Any:
        """Map numbers in [0, 1] to values: `quantile(uniform draws)` are draws from the space."""

    @abstractmethod
    def refusal(self, value: float) -> str | None:
        """None where `value` has a meaning, otherwise what it should have been."""


class Uniform(Space):
    """Uniform on [low, high]; nothing outside has a meaning."""

    def quantile(self, u: Any) -> Any:
        return self.low + (self.high - self.low) * u

    def refusal(self, value: float) -> str | None:
        return None if self.low <= value <= self.high else f"a number in [{self.low:g}, {self.high:g}]"


class LogUniform(Space):
    """log x uniform on [log low, log high]: rates and small constants. Every x ≥ 0 has a meaning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise BadInput(f"a log-uniform space needs a positive low bound, not {self.low}")

    def quantile(self, u: Any) -> Any:
        return self.low * np.exp(u * math.log(self.high / self.low))

    def refusal(self, value: float) -> str | None:
        return None if 0 <= value < math.inf else "a finite number ≥ 0"


class OneMinusLogUniform(LogUniform):
    """1 − x log-uniform on [low, high]: decay rates such as Adam's β. Every x in [0, 1) has a meaning."""

    def quantile(self, u: Any) -> Any:
        # Written from the high end, so that u = 0 is 1 − high to the bit: 1e-16 below 0 would be no decay rate.
        return 1 - self.high * np.exp(-u * math.log(self.high / self.low))

    def refusal(self, value: float) -> str | None:
        return None if 0 <= value < 1 else "a number in [0, 1)"
