"""MNIST at full size against published accuracies; minutes, and the real files."""

import os
import runpy
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("OPTISCOPE_DATA", "."))
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "mnist.py"


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "mnist").is_dir(), reason="MNIST is not where OPTISCOPE_DATA points")
def test_five_rules_reach_the_published_accuracies_and_more():
    """A published plot has GD at 86 %, 87.6 % in a plain run; the others are to be above what it shows."""
    module = runpy.run_path(str(BENCHMARK))
    found = module["figures"](module["compared"](seeds=2))["accuracy"]
    train = {label: metrics["train_accuracy"][1] for label, metrics in found.items()}  # the lowest of the seeds
    assert 0.84 <= train.pop("GD") <= 0.90
    for label, share in train.items():
        assert share > module["PUBLISHED"][label]
    # What is learned is no memory of the training rows: a plain run has 88.2 and 96.3 to 97.5 % on the test rows.
    for metrics in found.values():
        assert metrics["test_accuracy"][1] > 0.87
