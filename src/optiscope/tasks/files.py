"""The files of data sets, each checked against its SHA-256 before a byte of it is believed."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path

from ..errors import BadInput
from .downloads import fetch

SHA256 = {
    "airfoil_self_noise.dat": "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3",
    "digits.csv.gz": "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
}
"""Names, of which those with a folder are downloaded and the others lie in the package."""


def read(name: str) -> bytes:
    """A data file's content, from the folder in `OPTISCOPE_DATA` where it lies there, else from where it lives.

    Raises:
        BadInput: the file is not what it should be, or cannot be downloaded.
    """
    folder = os.environ.get("OPTISCOPE_DATA")
    path = Path(folder, name) if folder else None
    if path is not None and path.is_file():
        content, where = path.read_bytes(), str(path)
    elif "/" in name:
        path = fetch(name, SHA256[name])
        content, where = path.read_bytes(), str(path)
    else:
        content, where = (importlib.resources.files(__package__) / "data" / name).read_bytes(), f"the package's {name}"
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise BadInput(
            f"{where} is corrupted: its SHA-256 is {found[:12]}…, not {SHA256[name][:12]}…; "
            "replace it, or unset OPTISCOPE_DATA to use Optiscope's own copy"
        )
    return content
