"""Explain: the mechanisms of any rule, read off its dynamics, and their test: a rule rebuilt from them."""

import sys
from types import ModuleType
from typing import Any

from .explanation import Explanation, explain, heavy_ball
from .proof import Proof, prove


class _Room(ModuleType):
    """The room and its verb share a name, and importing a room makes `osc.explain` the room: so it can be called."""

    def __call__(self, *args: Any, **settings: Any) -> Explanation:
        return explain(*args, **settings)


sys.modules[__name__].__class__ = _Room
