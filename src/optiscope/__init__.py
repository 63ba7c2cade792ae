"""Optiscope: every optimizer is one kind of object. Use it, see it, compare it.

import optiscope as osc

osc.Adam(lr=1e-3)                       # a rule; osc.rule("adam", lr=1e-3) makes the same by name
osc.task("airfoil")                     # a task
osc.run(osc.Adam(lr=0.01), osc.task("airfoil"))
osc.compare(["momentum", "adam"], osc.task("airfoil"))
"""

import importlib
from typing import TYPE_CHECKING, Any

from .xla import one_kernel_for_small_loops

if TYPE_CHECKING:
    from . import errors, frameworks, lab, rules, solvers, tasks, view
    from .errors import BadInput
    from .explain import Explanation, Proof, explain, prove
    from .lab import Comparison, Runs, Study, Suite, Sweep, compare, run, stack, suite, sweep, tune, walks
    from .rules import *  # noqa: F403
    from .solvers import Solution, least_squares, minimize, solve_many
    from .tasks import Problem, Task, stationary_points, task
    from .view import animation, figure, report

_MODULES = (
    "atomic",
    "cli",
    "console",
    "errors",
    "explain",
    "frameworks",
    "lab",
    "learning",
    "rules",
    "solvers",
    "tasks",
    "view",
)
_HOMES = {
    "BadInput": "errors",
    **dict.fromkeys(("Explanation", "Proof", "prove"), "explain"),
    **dict.fromkeys(("Problem", "Task", "stationary_points", "task"), "tasks"),
    **dict.fromkeys(("Comparison", "Runs", "Study", "Suite", "Sweep"), "lab"),
    **dict.fromkeys(("compare", "run", "stack", "suite", "sweep", "tune", "walks"), "lab"),
    **dict.fromkeys(("Solution", "least_squares", "minimize", "solve_many"), "solvers"),
    **dict.fromkeys(("Training", "train", "load", "save"), "learning"),
    **dict.fromkeys(("animation", "figure", "report"), "view"),
}

one_kernel_for_small_loops()


def __getattr__(name: str) -> Any:
    """Import a room when something of its is first asked for: NumPy and torch users never wait for JAX.

    What has no home above is a rule's, a wrapper's or a schedule's name.
    """
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = importlib.import_module(f".{_HOMES.get(name, 'rules')}", __name__)
    if name.startswith("_") or not hasattr(home, name):
        raise AttributeError(f"module 'optiscope' has no attribute {name!r}")
    return getattr(home, name)
