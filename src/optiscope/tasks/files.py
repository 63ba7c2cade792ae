"""The files of data sets, each checked against its SHA-256 before a byte of it is believed."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path

from ..errors import BadInput

SHA256 = {
    "airfoil_self_noise.dat": "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3",
    "digits.csv.gz": "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
}


def read(name: str) -> bytes:
    """A data file's content, from the folder in `OPTISCOPE_DATA` where it lies there, else from the package.

    Raises:
        BadInput: the file is not what it should be.
    """
    folder = os.environ.get("OPTISCOPE_DATA")
    path = Path(folder, name) if folder else None
    if path is not None and path.is_file():
        content, where = path.read_bytes(), str(path)
    else:
        content, where = (importlib.resources.files(__package__) / "data" / name).read_bytes(), f"the package's {name}"
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise BadInput(
            f"{where} is corrupted: its SHA-256 is {found[:12]}…, not {SHA256[name][:12]}…; "
            "replace it, or unset OPTISCOPE_DATA to use the package's own copy"
        )
    return content
