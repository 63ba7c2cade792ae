"""Data that is too large to ship: fetched once, from the first mirror that has it, and checked."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import BadInput

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
}
"""Folders that hold a data set's files, in the order in which they are tried."""

TIMEOUT = 30
"""Seconds that a mirror may keep silent."""

CHUNK = 2**16
"""Bytes between two looks at the progress bar."""


def fetch(name: str, sha256: str) -> Path:
    """The path of a data file in the user's cache, where it is downloaded to if it is not there yet.

    Args:
        name: the data set and the file, "mnist/train-images-idx3-ubyte.gz".
        sha256: what the file must hash to.

    Raises:
        BadInput: no mirror has the right file.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the bar says it
    data_set, file = name.split("/")
    failures = []
    for mirror in MIRRORS[data_set]:
        bar = _Bar(file) if sys.stderr.isatty() else None
        try:
            over_http = pooch.HTTPDownloader(bar or False, CHUNK, timeout=TIMEOUT)
            cache = pooch.os_cache("optiscope") / data_set
            return Path(pooch.retrieve(mirror + file, f"sha256:{sha256}", file, cache, downloader=over_http))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, and a wrong hash is a ValueError
            failures.append(f"{mirror} {_said(error)}")
        finally:
            if bar:
                bar.close()
    raise BadInput(
        f"{name} could not be downloaded ({'; '.join(failures)}); "
        "without a network, put it where OPTISCOPE_DATA points, under that name"
    )


def _said(error: OSError | ValueError) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return f"could not be reached ({type(error).__name__})"
    return f"failed: {error}" if isinstance(error, OSError) else "sent another file, of another SHA-256"


class _Bar:
    """A progress bar on stderr, as pooch wants one."""

    total: int

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._drawn = Progress(*columns, console=Console(stderr=True), transient=True)
        self._work = self._drawn.add_task(label, total=None)
        self._drawn.start()

    def update(self, size: int) -> None:
        self._drawn.update(self._work, total=self.total, advance=size)

    def reset(self) -> None:
        self._drawn.reset(self._work, total=self.total)

    def close(self) -> None:
        self._drawn.stop()
