"""What XLA is told at import."""

import os
import subprocess
import sys

import pytest

from optiscope import xla

OURS = f"--xla_backend_extra_options={xla.OPTION}={xla.BYTES}"
LOOP = """
import jax, optiscope
def turns(x):
    return jax.lax.while_loop(lambda c: c[1] < 9, lambda c: (c[0] * c[0].sum(), c[1] + 1), (x, 0))[0]
print("small_call" in jax.jit(turns).lower(jax.numpy.ones(500)).compile().as_text())
"""


@pytest.mark.parametrize(
    ("given", "after"),
    [
        (None, OURS),
        ("--xla_cpu_enable_fast_math=false", f"{OURS} --xla_cpu_enable_fast_math=false"),
        ("--xla_backend_extra_options=a=b", "--xla_backend_extra_options=a=b"),
        ("flags.txt", "flags.txt"),  # a file that holds them
    ],
)
def test_flags_that_are_set_stay(monkeypatch, given, after):
    monkeypatch.setenv("XLA_FLAGS", given or "")
    xla.one_kernel_for_small_loops()
    assert os.environ["XLA_FLAGS"] == after


def test_a_loop_over_five_hundred_numbers_is_one_kernel():
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    made = subprocess.run([sys.executable, "-c", LOOP], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "True"
