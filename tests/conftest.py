"""Strict everywhere: 64 bits on, no silent broadcasting between ranks; warnings are errors (pyproject.toml)."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
