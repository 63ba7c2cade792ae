"""What every entrance to the lab asks of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import BadInput
from ..rules.contract import Rule
from ..tasks.contract import Task

DTYPES = ("float32", "float64")


def check(rule: Any, task: Any, steps: int | None, seeds: int | Sequence[int], dtype: str) -> tuple[int, np.ndarray]:
    """The number of steps and the seeds, once the arguments that all entrances share are found good.

    Raises:
        BadInput: one of them is not.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"a rule is wanted, such as osc.Adam(lr=1e-3), not {rule!r}")
    if not isinstance(task, Task):
        raise BadInput(f"a task is wanted, such as osc.task('airfoil'), not {task!r}")
    total = steps_of(task, steps)
    if dtype not in DTYPES:
        raise BadInput(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    return total, seeds_of(seeds)


def steps_of(task: Task, steps: int | None) -> int:
    """The number of steps, the task's own unless one is given.

    Raises:
        BadInput: it is no whole number ≥ 1.
    """
    steps = task.steps if steps is None else steps
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise BadInput(f"steps must be a whole number ≥ 1, not {steps!r}")
    return int(steps)


def seeds_of(seeds: int | Sequence[int]) -> np.ndarray:
    """The seeds themselves, shape (seeds,), where their number may have been given.

    Raises:
        BadInput: they are none, or not whole numbers in [0, 2³²).
    """
    try:
        listed = np.arange(seeds) if isinstance(seeds, int) else np.asarray(list(seeds))
    except TypeError:
        raise BadInput(f"seeds must be a number of seeds or a list of them, not {seeds!r}") from None
    whole = listed.size > 0 and np.issubdtype(listed.dtype, np.integer)
    if not whole or listed.min() < 0 or listed.max() >= 2**32:
        raise BadInput(f"seeds must be at least one whole number in [0, 2³²), not {seeds!r}")
    return listed
