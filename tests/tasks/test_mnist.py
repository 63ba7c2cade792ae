"""MNIST: the files, the images at smaller sizes, and the convolutional network."""

import http.server
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc
from optiscope import tasks
from optiscope.tasks import downloads, files, mnist

IMAGES = "mnist/train-images-idx3-ubyte.gz"


def test_the_images_are_those_of_the_files(small_mnist):
    task = osc.task("mnist")
    assert (task.inputs.shape, task.targets.shape) == ((96, 784), (96, 10))
    assert (task.test[0].shape, task.test[1].shape) == ((40, 784), (40, 10))
    draws = np.random.default_rng(0)
    pixels, labels = draws.integers(0, 256, (96, 28, 28), np.uint8), draws.integers(0, 10, 96, np.uint8)
    np.testing.assert_array_equal(np.rint(task.inputs * 255), pixels.reshape(96, 784))
    np.testing.assert_array_equal(task.targets.argmax(axis=1), labels)


@pytest.mark.parametrize("size", [14, 7, 8])
def test_a_smaller_image_is_the_mean_of_the_areas_its_pixels_cover(size):
    pixels = np.random.default_rng(1).uniform(size=(3, 28, 28))
    fine = pixels.repeat(size, axis=1).repeat(size, axis=2)  # 28·size pixels a side: each area is 28 × 28 of them
    areas = fine.reshape(3, size, 28, size, 28).mean(axis=(2, 4))
    np.testing.assert_allclose(mnist.shrunk(pixels, size), areas, rtol=1e-12)


@pytest.mark.parametrize(
    ("size", "channels", "kernels"), [(28, (32, 16, 16), (5, 3, 3)), (14, (8, 8), (3, 3)), (7, (3,), (4,))]
)
def test_the_network_is_xlas_own_convolutions(size, channels, kernels):
    model = tasks.ConvNet(size, channels, kernels, 10)
    params = model.init(jax.random.key(0))
    params = [{"w": layer["w"], "b": jax.random.normal(jax.random.key(1), layer["b"].shape)} for layer in params]
    x = images = jax.random.uniform(jax.random.key(2), (5, size, size, 1))
    depth = 1
    for layer, kernel, out in zip(params, kernels, channels, strict=False):
        w = layer["w"].reshape(kernel, kernel, depth, out)
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=layout)
        x, depth = jnp.maximum(x + layer["b"][None, None, None, :], 0), out
    by_xla = x.reshape(5, -1) @ params[-1]["w"] + params[-1]["b"][None]
    by_patches = jax.jit(model.__call__)(params, images.reshape(5, -1))
    np.testing.assert_allclose(by_patches, by_xla, rtol=1e-10, atol=1e-12)


def test_the_papers_network_has_four_layers_on_28_pixels(small_mnist):
    task = osc.task("mnist-conv")
    shapes = [layer["w"].shape for layer in task.sample(jax.random.key(0)).start]
    assert shapes == [(5 * 5 * 1, 32), (3 * 3 * 32, 16), (3 * 3 * 16, 16), (4 * 4 * 16, 10)]
    assert task.batches.size == 32
    assert task.steps == 200


def test_the_recorded_loss_is_that_of_the_first_rows_and_the_steps_see_all(small_mnist):
    task = osc.task("mnist-conv", size=7, channels=(2,), kernels=(3,), judged=30)
    problem = task.sample(jax.random.key(0))
    rows = tasks.Rows(jnp.arange(30), None)
    loss = jax.jit(problem.loss)
    assert loss(problem.start) == pytest.approx(float(loss(problem.start, rows)), rel=1e-6)
    state, seen = problem.batches.begin(jax.random.key(0)), set()
    for k in range(3):
        batch, state = problem.batches.draw(state, k)
        seen |= set(batch.rows.tolist())
    assert seen == set(range(96))
    whole = osc.task("mnist-conv", size=7, channels=(2,), kernels=(3,), judged=30, batch=None)
    assert whole.judged is None  # or the steps would see those rows alone


@pytest.fixture
def mirror(small_mnist, tmp_path_factory, monkeypatch):
    """A server on this machine that has the files, and an empty cache."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(small_mnist))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *said: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("OPTISCOPE_DATA")
    cache = tmp_path_factory.mktemp("cache")
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda project: cache / project)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_come_from_the_first_mirror_that_has_them_and_then_from_the_cache(mirror, small_mnist, monkeypatch):
    monkeypatch.setitem(downloads.MIRRORS, "mnist", (f"{mirror}/nowhere/", f"{mirror}/mnist/"))
    assert files.read(IMAGES) == (small_mnist / IMAGES).read_bytes()
    monkeypatch.setitem(downloads.MIRRORS, "mnist", (f"{mirror}/nowhere/",))
    assert files.read(IMAGES) == (small_mnist / IMAGES).read_bytes()


def test_a_mirror_with_another_file_is_not_believed(mirror, small_mnist, monkeypatch):
    monkeypatch.setitem(downloads.MIRRORS, "mnist", (f"{mirror}/nowhere/", f"{mirror}/mnist/"))
    path = small_mnist / IMAGES
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        osc.BadInput, match=r"nowhere/ answered 404; .* sent another file, .*; without a network, put it"
    ):
        files.read(IMAGES)
    monkeypatch.setenv("OPTISCOPE_DATA", str(small_mnist))
    with pytest.raises(osc.BadInput, match="corrupted"):
        files.read(IMAGES)


def test_a_mirror_that_does_not_answer(small_mnist, monkeypatch, mirror):
    monkeypatch.setitem(downloads.MIRRORS, "mnist", ("http://127.0.0.1:9/",))
    with pytest.raises(osc.BadInput, match=r"could not be downloaded \(http://127.0.0.1:9/ could not be reached"):
        files.read(IMAGES)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("mnist", {"size": 29}, "mnist: size must be a whole number from 1 to 28, not 29"),
        ("mnist", {"hidden": 0}, "mnist: hidden must be a whole number ≥ 1, not 0"),
        ("mnist", {"activation": "rely"}, "an activation is one of"),
        ("mnist-conv", {"judged": 0}, "mnist-conv: judged must be a whole number ≥ 1, not 0"),
        ("mnist-conv", {"channels": (8, 8)}, r"as many kernels as channels, not 3 and 2: \(5, 3, 3\) and \(8, 8\)"),
        ("mnist-conv", {"kernels": (5, 3, 0)}, "kernels must be whole numbers ≥ 1"),
    ],
)
def test_bad_settings(small_mnist, name, settings, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        osc.task(name, **settings)
