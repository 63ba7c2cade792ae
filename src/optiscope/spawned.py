"""What a process does first that was spawned to work for another. It imports nothing heavy: Ctrl-C may come soon."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def ends_with_parent() -> None:
    """End this process at Ctrl-C without a word, for its parent has one to say; and with its parent, even a killed one.

    Left alone, a worker of a pool waits for ever for work that nobody will send.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
