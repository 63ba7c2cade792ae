"""Strict everywhere: 64 bits on, no silent broadcasting between ranks; warnings are errors (pyproject.toml)."""

import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# CI tries the same examples every time; at a desk Hypothesis looks for new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, for pages to be looked at as a reader sees them.

    A module's own: while it is open its event loop is the thread's, and asyncio.run would refuse to start another.
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """MNIST's four files with a few images of noise, in place of the real ones."""
    import gzip
    import hashlib

    import numpy as np

    from optiscope.tasks import files, mnist

    def idx(numbers):
        return bytes([0, 0, 8, numbers.ndim]) + np.array(numbers.shape, ">i4").tobytes() + numbers.tobytes()

    draws = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    for part, count in (("train", 96), ("t10k", 40)):
        for name, shape, top in (("images-idx3", (count, 28, 28), 256), ("labels-idx1", (count,), 10)):
            content = gzip.compress(idx(draws.integers(0, top, shape, np.uint8)))
            file = f"mnist/{part}-{name}-ubyte.gz"
            (tmp_path / file).write_bytes(content)
            monkeypatch.setitem(files.SHA256, file, hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("OPTISCOPE_DATA", str(tmp_path))
    mnist.images.cache_clear()
    yield tmp_path
    mnist.images.cache_clear()
