"""Pictures: what is drawn is what was found, and a file is written whole or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import optiscope as osc
from optiscope import atomic, view
from optiscope.solvers import formula
from optiscope.tasks import Landscape


@pytest.fixture(scope="module")
def comparison():
    return osc.compare(["gd:lr=0.1", "momentum:lr=0.1", "gd:lr=10"], osc.task("parabola"), steps=40, seeds=6)


def test_loss_curves_are_the_means_above_the_optimum_with_their_bands(comparison):
    drawn = osc.figure(comparison)
    (axes,) = drawn.axes
    assert axes.get_yscale() == "log"
    for entry, line in zip(comparison.entries, axes.lines, strict=True):
        np.testing.assert_allclose(line.get_ydata(), entry.runs.loss.mean(axis=0, dtype=float), rtol=1e-12)
    assert len(axes.collections) == 3
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == ["gd:lr=0.1", "momentum:lr=0.1", "gd:lr=10 (6 diverged)"]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 3


def test_losses_below_0_are_drawn_on_a_plain_axis():
    """Of no use is a logarithm to a negative log-likelihood; a run that diverges makes no line of the others."""
    task = osc.Task.from_loss(lambda x: -jnp.cos(x).sum() + x @ x / 100, lambda key: 1 + jax.random.uniform(key, (3,)))
    (axes,) = osc.figure(osc.compare(["gd", "gd:lr=1000"], task, steps=40, seeds=4)).axes
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert -10 < low < -2.9 < axes.lines[0].get_ydata()[0] < high < 10
    study = osc.tune("gd", task, trials=8, seeds=2, steps=8)
    assert [axes.get_yscale() for axes in osc.figure(study).axes] == ["linear", "linear"]


def test_where_nothing_is_lost_the_axis_is_plain_too():
    task = osc.Task.from_loss(lambda x: ((x - 1) ** 2).sum(), np.ones(2), optimum=0.0)
    comparison = osc.compare(["gd", "adam"], task, steps=4, seeds=2)
    for draw in (osc.figure, view.sensitivity):
        assert draw(comparison).axes[0].get_yscale() == "linear"


def test_dollars_in_a_name_are_dollars(tmp_path):
    """Between two of them is no formula, which `2020_` were none of."""
    task = osc.Task.from_loss(lambda x: (x**2).sum(), np.ones(2), name="$2020_$2021")
    file = view.save(osc.figure(osc.compare(["gd:lr=0.1"], task, steps=2, seeds=2)), tmp_path / "x.png")
    assert file.exists()
    odd = {"$a_$": osc.GradientDescent()}
    view.save(osc.figure(osc.compare(odd, task, steps=2, seeds=2)), file)
    view.save(view.accuracy_curves(osc.compare(odd, osc.task("two-moons"), steps=2, seeds=2)), file)
    columns = {"x": np.arange(5.0), "$a_$": 2 * np.arange(5.0)}
    view.save(view.fitted(formula.fit("b*x", columns, {"b": 1.0}, response="$a_$"), "x", columns), file)
    view.save(osc.figure(osc.tune("gd", task, trials=4, seeds=2, steps=2)), file)
    view.save(osc.figure(osc.explain(osc.Momentum(), task)), file)


@pytest.mark.parametrize("function", [lambda p: jnp.log(p[0]), lambda p: 0 * p[0] + 3, lambda p: jnp.log(-1 - p @ p)])
def test_a_landscape_that_is_not_everywhere_or_flat_is_drawn(function, tmp_path):
    place = Landscape("odd", function, 2, -1.0, 1.0)
    walks = osc.walks(["gd:lr=0.01"], place, start=[0.5, 0.5], steps=3)
    traces = [view.trace(contender.label, runs) for contender, runs in walks]
    drawn = view.trajectories(place, traces)
    assert view.save(drawn, tmp_path / "odd.png").exists()
    assert drawn.axes[0].yaxis.label.get_window_extent().x0 >= 0  # wide tick labels push it outwards


def test_trajectories_pass_through_the_recorded_points_and_stationary_points_are_marked():
    task = osc.task("himmelblau")
    walks = osc.walks(["gd:lr=0.01"], task, start=[0.0, 0.0], steps=30)
    drawn = view.trajectories(task, [view.trace(c.label, runs) for c, runs in walks])
    (axes,) = drawn.axes
    path = next(line for line in axes.lines if line.get_label().startswith("gd:lr=0.01"))
    np.testing.assert_array_equal(path.get_xydata(), walks[0][1].params[0])
    marked = {
        c.get_label(): len(c.get_offsets())
        for c in axes.collections
        if c.get_label() in view.trajectories.__globals__["MARKS"]
    }
    assert marked == {"minimum": 4, "maximum": 1, "saddle": 4}


def test_a_landscape_of_three_variables_cannot_be_drawn():
    task = osc.task("rosenbrock", n=3)
    ((contender, runs),) = osc.walks(["gd:lr=0.001"], task, steps=2)
    with pytest.raises(osc.BadInput, match="a picture of trajectories needs 1 or 2 variables, and rosenbrock has 3"):
        view.trajectories(task, [view.trace(contender.label, runs)])


def test_there_is_no_picture_of_a_number():
    with pytest.raises(osc.BadInput, match="no picture of a int"):
        osc.figure(3)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figures_are_saved_by_their_ending(tmp_path, comparison, ending):
    path = view.save(osc.figure(comparison), tmp_path / f"curves.{ending}")
    start = path.read_bytes()[:8]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in start
    if ending == "png":
        with Image.open(path) as picture:
            assert picture.size[0] > 1000


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def interrupted():
        with atomic.replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_figure_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        view.save(Figure(), tmp_path / "curves.nosuchformat")
    assert list(tmp_path.iterdir()) == []


def test_accuracy_curves_are_the_means_by_epoch_with_the_ends_in_the_legend(small_mnist):
    task = osc.task("mnist", size=7, hidden=4, batch=32)  # three steps an epoch
    comparison = osc.compare({"slow": osc.GradientDescent(lr=0.01), "fast": osc.Adam(lr=0.1)}, task, steps=6, seeds=3)
    drawn = view.accuracy_curves(comparison)
    for axes, name in zip(drawn.axes, ("train_accuracy", "test_accuracy"), strict=True):
        for entry, line in zip(comparison.entries, axes.lines, strict=True):
            np.testing.assert_allclose(line.get_xdata(), np.arange(7) / 3)
            np.testing.assert_allclose(line.get_ydata(), entry.runs.metrics[name].mean(axis=0), rtol=1e-12)
    best = comparison.entries[0]
    ends = [f"{best.runs.metrics[name][:, -1].mean():.1%}" for name in ("train_accuracy", "test_accuracy")]
    assert drawn.legends[0].get_texts()[0].get_text() == f"{best.contender.label}: {' / '.join(ends)}"


def test_a_task_that_classifies_nothing_has_no_accuracies(comparison):
    with pytest.raises(osc.BadInput, match="parabola is no task of classification, and its runs have no accuracies"):
        view.accuracy_curves(comparison)
