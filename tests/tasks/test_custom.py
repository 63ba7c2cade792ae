"""A user's own loss as a task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc


def valley(x):
    return x[0] ** 2 + 10 * x[1] ** 2


def test_a_function_and_a_start_are_a_task():
    task = osc.Task.from_loss(valley, np.array([3, -1]), optimum=0.0, metrics=lambda x: {"far": jnp.abs(x[0])})
    assert (task.name, task.optimum) == ("valley", 0.0)
    runs = osc.run(osc.GradientDescent(lr=0.05), task, steps=20, seeds=2, record=["params"], dtype="float64")
    # Each step multiplies the coordinates by 1 − 0.05 · 2 and 1 − 0.05 · 20.
    for seed in (0, 1):
        np.testing.assert_allclose(runs.params[seed, :, 0], 3 * 0.9 ** np.arange(21), rtol=1e-12)
        np.testing.assert_array_equal(runs.metrics["far"][seed], runs.params[seed, :, 0])


def test_starts_can_be_drawn():
    task = osc.Task.from_loss(valley, lambda key: jax.random.normal(key, (2,)), name="drawn")
    runs = osc.run(osc.Adam(lr=0.1), task, steps=5, seeds=3)
    assert len(set(runs.loss[:, 0].tolist())) == 3
    assert (runs.loss[:, -1] < runs.loss[:, 0]).all()


def test_rows_of_data_are_the_airfoil_task_written_by_hand():
    airfoil = osc.task("airfoil", batch=400)  # the last of four batches has 300 rows

    def half_squared(params, row):
        x, y = row
        return ((x @ params["w"] + params["b"] - y) ** 2).sum() / 2

    start = {"w": np.zeros((5, 1)), "b": np.zeros(1)}
    task = osc.Task.from_loss(half_squared, start, data=(airfoil.inputs, airfoil.targets), batch=400)
    made = osc.run(osc.Adam(lr=0.05), task, steps=9, seeds=[4], dtype="float64")
    same = osc.run(osc.Adam(lr=0.05), airfoil, steps=9, seeds=[4], dtype="float64", start=[start])
    np.testing.assert_allclose(made.loss, same.loss, rtol=1e-12)


def raises(x):
    raise KeyError("w")


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ((raises, np.array([1.0])), r"the loss raised KeyError: 'w'"),
        (
            (lambda x: x**2, np.array([1.0, 2.0])),
            r"the loss must return one floating number, not an array of shape \(2,\)",
        ),
        ((lambda x: (x.sum(), 1), np.array([1.0])), r"the loss must return one number, not a tuple"),
        ((lambda x: jnp.argmax(x), np.array([1.0])), r"not one of type int"),
        ((lambda x: jnp.log(x[0]), np.array([-1.0])), r"the loss is nan at the start; start where it is finite"),
        ((lambda x: x[0] if x[0] > 0 else -x[0], np.array([1.0])), r"cannot be compiled, for it branches on a value"),
        (
            (lambda x: np.exp(x).sum(), np.array([1.0])),
            r"cannot be compiled, .* or leaves JAX; write it with jax.numpy",
        ),
        ((lambda x: x.sum(), ["one"]), r"init must hold numbers, not 'one'"),
        ((lambda x: x.sum(), [None]), r"init must hold numbers, not None"),
        ((lambda x: x.sum(), raises), r"init raised KeyError"),
        ((3, np.array([1.0])), r"loss must be a function, not 3"),
    ],
)
def test_bad_losses_are_refused_in_a_sentence(ask, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        osc.Task.from_loss(*ask)


def test_finished_runs_are_kept_and_two_losses_of_one_name_are_not_taken_for_each_other(tmp_path):
    def made(power):
        task = osc.Task.from_loss(lambda x: jnp.sum(x**power), np.array([1.0, 2.0]), name="mine")
        return osc.run(osc.Adam(lr=0.1), task, steps=5, seeds=2, store=tmp_path / "runs.sqlite").loss

    square, quartic = made(2), made(4)
    np.testing.assert_array_equal(made(2), square)
    assert quartic[0, 0] == 17


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch": 3}, r"batch=3 needs data= to draw rows from"),
        ({"data": (np.zeros(3), np.zeros(4))}, r"data must be arrays of one length"),
        ({"data": np.zeros(0)}, r"at least one row"),
        ({"data": np.zeros(3), "batch": 4}, r"batch must be a whole number from 1 to 3"),
        ({"metrics": lambda x: {"both": x}}, r"metrics must return a dict of scalars, and 'both' is none"),
        ({"metrics": 3}, r"metrics must be a function, not 3"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(osc.BadInput, match=sentence):
        osc.Task.from_loss(lambda x, row=0.0: (x**2).sum() + row, np.array([1.0, 2.0]), **settings)


def test_a_loss_that_breaks_later_is_a_run_that_diverged():
    task = osc.Task.from_loss(lambda x: jnp.sqrt(x[0]), np.array([1.0]))
    runs = osc.run(osc.GradientDescent(lr=1.0), task, steps=10, seeds=1)
    # 1 − 1/2 = 1/2; 1/2 − 1/√2 · 1 < 0, of which there is no root.
    assert runs.broke_at.tolist() == [2]
