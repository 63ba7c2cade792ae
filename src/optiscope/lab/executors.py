"""Where pieces of work are done when it is not in this process: other processes, or a Dask cluster."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

from ..errors import BadInput
from ..spawned import ends_with_parent
from ..tasks.contract import Task
from .work import Work


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """A pool of processes. They are spawned: a fork of a process in which JAX has threads can wait for ever."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=ends_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def dask(scheduler: str) -> Iterator[Executor]:
    """The workers of the Dask scheduler at an address such as tcp://10.0.0.1:8786.

    Raises:
        BadInput: dask.distributed is missing, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise BadInput("a Dask cluster needs dask.distributed: pip install 'optiscope[dask]'") from None
    try:
        client: Any = Client(scheduler)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise BadInput(f"no Dask scheduler answers at {scheduler!r}: {error}") from None
    with client, _Cluster(client) as workers:
        yield workers


class _Cluster(Executor):
    """A cluster's workers. A task, which may hold much data, is sent to them once and not with each piece of work."""

    def __init__(self, client: Any) -> None:
        self._client, self._workers = client, client.get_executor()
        self._sent: dict[int, tuple[Task, Any]] = {}

    def submit(self, function: Callable, work: Work) -> Future:  # type: ignore[override]
        if id(work.task) not in self._sent:
            self._sent[id(work.task)] = work.task, self._client.scatter(work.task, broadcast=True, hash=False)
        _, there = self._sent[id(work.task)]
        bare = dataclasses.replace(work, task=cast(Task, None))
        return cast(Future, self._workers.submit(_whole, function, bare, there))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._workers.shutdown(wait)


def _whole(function: Callable, work: Work, task: Task) -> Any:
    return function(dataclasses.replace(work, task=task))
