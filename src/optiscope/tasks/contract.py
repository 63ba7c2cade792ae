"""What a rule runs on: a task is a distribution, `task.sample(key)` a problem.

A problem has a `start`, a `loss`, and a way to draw the `batches` that its steps see. Both are values: JAX may batch
a task over seeds, and the arrays of a data set, being leaves, are shared by all of them.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..errors import BadInput, unknown
from .batches import Batches

Params = Any
"""A pytree of floating arrays."""


class Problem(ABC):
    """One draw from a task: where to start, and what to make small."""

    start: Params
    batches: Batches

    @abstractmethod
    def loss(self, params: Params, batch: Any = None) -> Any:
        """The loss, a scalar: of everything, or of a `batch` that `batches` drew, which is what a step sees."""

    def record(self, params: Params) -> tuple[Any, dict[str, Any]]:
        """The loss of everything, and by name whatever other scalars a run is to keep beside it: accuracies, say."""
        return self.loss(params), {}


class Task(ABC):
    """A distribution of problems.

    A subclass is a `value`: what makes its problems alike are its fields.
    """

    name: str

    @staticmethod
    def from_loss(loss: Callable[..., Any], init: Any, **settings: Any) -> Task:
        """A task from a loss of your own: see `custom.from_loss`."""
        from .custom import from_loss

        return from_loss(loss, init, **settings)

    @staticmethod
    def from_file(path: str | Path, target: str, **settings: Any) -> Task:
        """A task from a CSV, npz or Parquet file: see `tables.from_file`."""
        from .tables import from_file

        return from_file(path, target, **settings)

    @abstractmethod
    def sample(self, key: Any) -> Problem:
        """Draw a problem; the same JAX random key draws the same one."""

    @property
    def steps(self) -> int:
        """How many steps a run takes unless told otherwise."""
        return 200

    @property
    def optimum(self) -> float | None:
        """The least loss there is, where it is known and the same for every problem."""
        return None


_registry: dict[str, Callable[..., Task]] = {}
F = TypeVar("F", bound=Callable[..., Task])


def task(what: F | str, /, **settings: Any) -> Any:
    """Make a task by its name, `task("airfoil", batch=10)`; or, as a decorator, list a function that makes one.

    Raises:
        BadInput: no task has the name (the message proposes the nearest), or a setting is unknown or invalid.
    """
    if not isinstance(what, str):
        _registry[what.__name__.replace("_", "-")] = what
        return what
    name, make = spelled(what), factory(what)
    known = inspect.signature(make).parameters
    for setting in settings:
        if setting not in known:
            if not known:
                raise BadInput(f"the task {name} has no settings, and so no {setting!r}")
            raise unknown(f"setting of {name}", setting, known, f"'optiscope tasks {name}'")
    return make(**settings)


def spelled(name: str) -> str:
    """A task's name as lists have it, whatever the case and whether with - or _."""
    return name.lower().replace("_", "-")


def names(kind: type[Task] = Task) -> list[str]:
    """The names of all tasks, or of those of one kind, such as `Landscape`; none is made for it: some load data."""
    kinds = {name: get_type_hints(make).get("return", Task) for name, make in _registry.items()}
    return sorted(name for name in kinds if issubclass(kinds[name], kind))


def factory(name: str) -> Callable[..., Task]:
    """The function behind a name, whose signature and docstring say what can be set.

    Raises:
        BadInput: no task has the name.
    """
    if spelled(name) not in _registry:
        raise unknown("task", name, _registry, "'optiscope tasks'")
    return _registry[spelled(name)]
