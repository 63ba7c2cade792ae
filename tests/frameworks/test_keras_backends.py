"""The Keras front on the backends that this process cannot have, and Keras's own tests over the ready-made classes."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent
THEIRS = Path(keras.__file__).parent / "src" / "optimizers"

missing = pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow is not installed")


def passed(backend, *arguments, **environment):
    """How many tests passed in a process of its own, where none may fail."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *map(str, arguments)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(HERE), **environment}
    done = subprocess.run(command, cwd=HERE.parent.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return int(re.search(r"(\d+) passed", done.stdout).group(1))


@pytest.mark.parametrize("backend", ["torch", pytest.param("tensorflow", marks=missing)])
def test_our_tests_on_other_backends(backend):
    assert passed(backend, "-v", HERE / "test_keras.py", OPTISCOPE_STEPS="40") > 90


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", pytest.param("tensorflow", marks=missing)])
def test_our_tests_in_full_length_on_other_backends(backend):
    assert passed(backend, "-v", HERE / "test_keras.py", OPTISCOPE_STEPS="200") > 90


# Errors in other words, a private attribute, a list of originals that is bound before ours can take their place, and a
# test that needs TensorFlow.
LEFT_OUT = (
    "test_weight_decay_is_none",
    "test_invalid_beta_1",
    "test_invalid_momentum",
    "test_build_with_empty_var_list",
    "test_pickleable_optimizers",
    "test_tensorboard_logging_with_multi_optimizer",
)

ALL = ("adadelta", "adagrad", "adam", "adamax", "adamw", "lion", "nadam", "rmsprop", "sgd")
AROUND = ("optimizer", "optimizer_sparse", "loss_scale_optimizer", "multi_optimizer")


def theirs_passed(backend, names):
    # Without our configuration: their tests warn, and expect the default precision.
    files = [THEIRS / f"{name}_test.py" for name in names]
    return passed(
        backend, "-c", os.devnull, "-p", "keras_peers", "-k", " and ".join(f"not {name}" for name in LEFT_OUT), *files
    )


def test_kerass_own_tests():
    assert theirs_passed("torch", ALL + AROUND) >= 130
    assert theirs_passed("jax", ("adam", "sgd")) >= 10


@pytest.mark.slow
def test_kerass_own_tests_on_jax():
    assert theirs_passed("jax", ALL + AROUND) >= 150
