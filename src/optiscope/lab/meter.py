"""How far a long piece of work is, as a share of all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .finish import Share

Progress = Callable[..., None]
"""Called with a contender's label, what is being done with it and, where it is known, the share of all work done."""


@dataclasses.dataclass
class Meter:
    """Turns the shares done of pieces of work, one after another, into the share done of the whole."""

    progress: Progress
    whole: float
    """The size of all pieces together."""
    before: float = 0.0

    def piece(self, label: str, doing: str, size: float) -> Share:
        """What the next piece, of this size, is to tell the share of it that is done."""
        before = self.before
        self.before += size

        def share(done: float) -> None:
            self.progress(label, doing, (before + size * done) / self.whole)

        share(0.0)
        return share
