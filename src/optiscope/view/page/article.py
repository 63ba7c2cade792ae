"""The article that `optiscope reproduce` writes: contests and explanations on one page."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...explain.explanation import Explanation
from ...explain.proof import Proof
from ...learning.contest import LONGER, Contest
from ..contests import contest_curves
from ..mechanisms import mechanisms
from .svg import whole
from .written import written


def article(
    contests: Sequence[Contest],
    explanations: Mapping[str, Explanation],
    path: str | os.PathLike[str],
    *,
    seconds: float,
    proofs: Mapping[str, Proof] | None = None,
) -> Path:
    """Write contests of learned rules, and what was found inside these, as one HTML page that needs nothing else.

    Args:
        explanations: of the learned rules, by label; `proofs`: their tests, by the same labels.

    Raises:
        BadInput: the file cannot be written.
    """
    return written(
        "article.html",
        path,
        losses=whole(contest_curves(contests), "Losses of learned and tuned rules on each task"),
        contests=[{"name": c.task.name, "sentence": c.sentence, "rows": c.table} for c in contests],
        explanations=[_explained(label, found, (proofs or {}).get(label)) for label, found in explanations.items()],
        longer=LONGER,
        seconds=seconds,
        version=importlib.metadata.version("optiscope"),
    )


def _explained(label: str, found: Explanation, proof: Proof | None) -> dict[str, Any]:
    return {
        "label": label,
        "sentence": found.verdict.sentence,
        "picture": whole(mechanisms(found), f"Mechanisms of {label}"),
        "findings": found.verdict.findings,
        "notes": found.notes,
        "proof": proof,
    }
