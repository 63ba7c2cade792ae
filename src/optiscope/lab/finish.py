"""Finishing work: what the store has is taken from there, the rest is done here or by an executor, and kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from typing import Any

from ..errors import BadInput
from .environment import environment
from .shelf import Shelf
from .store import Store, opened
from .work import Made, Work

Where = Store | str | os.PathLike[str] | None
"""A store, or the path of one; None for none."""
Share = Callable[[float], None]
"""Told what share of the work is done, from 0 to 1."""


def finish(
    works: Sequence[Work],
    store: Where = None,
    executor: Executor | None = None,
    share: Share = lambda done: None,
) -> list[Made]:
    """Do all of some works, piece by piece, and say what came of each.

    Raises:
        BadInput: the store cannot be used; what was finished by then is kept.
    """
    if not works:  # as where solvers alone are compared
        return []
    grids = [work.cut() for work in works]
    pieces = [piece for grid in grids for row in grid for piece in row]
    with opened(store) as kept:
        owners = [work for work, grid in zip(works, grids, strict=True) for row in grid for _ in row]
        shelves = {work: Shelf(kept, work) for work in works} if kept else {}
        made: dict[int, Made] = {}
        for i, piece in enumerate(pieces):
            there = shelves[owners[i]].find(piece) if kept else None
            if there is not None:
                made[i] = there
        total = sum(piece.size for piece in pieces)
        share(sum(pieces[i].size for i in made) / total)
        for i, came, where in _done({i: piece for i, piece in enumerate(pieces) if i not in made}, executor):
            if kept:
                shelves[owners[i]].keep(pieces[i], came, where)
            made[i] = came
            share(sum(pieces[i].size for i in made) / total)
    ordered = iter([made[i] for i in range(len(pieces))])
    return [work.join([[next(ordered) for _ in row] for row in grid]) for work, grid in zip(works, grids, strict=True)]


def _done(pieces: Mapping[int, Work], executor: Executor | None) -> Iterator[tuple[int, Made, dict[str, Any]]]:
    """Each piece as it is done: its number, what came of it, and where it was made."""
    if executor is None:
        for i, piece in pieces.items():
            yield i, *_do(piece)
        return
    futures: dict[Future, int] = {}
    failed: list[int] = []
    try:
        for i, piece in pieces.items():
            futures[executor.submit(_do, piece)] = i
        for future in as_completed(futures):
            try:
                found = future.result()
            except BadInput:
                raise
            except Exception as error:
                if not failed:
                    said = f"{type(error).__name__}: {error}".splitlines()[0]
                    warnings.warn(f"the executor failed ({said}); what it leaves is done here", stacklevel=2)
                failed.append(futures[future])
            else:
                yield futures[future], *found
    finally:
        for future in futures:
            future.cancel()
    # What the executor could not do, for a worker that died or a rule that cannot be sent, is tried here: if it is the
    # work's own fault, its error comes up in full.
    for i in failed:
        yield i, *_do(pieces[i])


def _do(piece: Work) -> tuple[Made, dict[str, Any]]:
    return piece.do(), environment()
