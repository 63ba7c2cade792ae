"""Where pieces of work are done when it is not in this process: other processes, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from ..errors import BadInput


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """A pool of processes. They are spawned: a fork of a process in which JAX has threads can wait for ever."""
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
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
    with client, client.get_executor() as workers:
        yield workers
