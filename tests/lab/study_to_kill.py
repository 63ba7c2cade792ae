"""A study for a test to kill: it says when each piece is kept, and at the end the bits of what it found."""

import hashlib
import sys

import optiscope as osc
from optiscope.lab import work

work.SIZE = 400_000.0
study = osc.tune(
    "momentum",
    osc.task("quadratic"),
    trials=400,
    seeds=16,
    steps=50,
    store=sys.argv[1] if len(sys.argv) > 1 else None,
    progress=lambda label, doing, share: print(f"{share:.3f}", flush=True),
)
bits = b"".join(array.tobytes() for array in (study.scores, study.confirmed, *study.settings.values()))
print(hashlib.sha256(bits).hexdigest(), study.best, study.searches)
