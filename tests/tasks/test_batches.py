"""Batches: the arithmetic of epochs, and who sees which row how often."""

import jax
import numpy as np
import pytest

import optiscope as osc
from optiscope.tasks.batches import Epochs, Everything, WithoutReplacement, WithReplacement, batches


def drawn(sampler, steps, seed=0):
    state, rows = sampler.begin(jax.random.key(seed)), []
    draw = jax.jit(sampler.draw)
    for k in range(steps):
        batch, state = draw(state, k)
        rows.append((np.asarray(batch.rows), None if batch.weight is None else np.asarray(batch.weight)))
    return rows


def test_epoch_arithmetic():
    sampler = Epochs(50_000, 128)
    assert sampler.per_epoch == 391
    *_, (_, weight) = drawn(sampler, 391)
    assert weight.sum() == 80


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (12, 4), (7, 7), (5, 1)])
def test_an_epoch_sees_every_row_once_and_the_next_in_another_order(rows, size):
    sampler = Epochs(rows, size)
    seen = drawn(sampler, 2 * sampler.per_epoch)
    kept = [r if w is None else r[w] for r, w in seen]
    orders = np.concatenate(kept).reshape(2, rows)
    assert all(sorted(order) == list(range(rows)) for order in orders)
    if rows > 5:
        assert (orders[0] != orders[1]).any()


def test_seeds_shuffle_differently_and_a_seed_always_alike():
    one, again, other = (np.concatenate([r for r, _ in drawn(Epochs(100, 10), 10, seed)]) for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()


def test_without_replacement_draws_different_rows_and_with_replacement_uniformly():
    assert all(len(set(rows)) == 8 for rows, _ in drawn(WithoutReplacement(9, 8), 20))
    counts = np.bincount(np.concatenate([rows for rows, _ in drawn(WithReplacement(10, 10), 200)]), minlength=10)
    # 2000 draws, 200 expected in each of 10 cells: chi-squared on 9 degrees of freedom, 99.9 % point 27.88.
    assert 0 < ((counts - 200) ** 2 / 200).sum() < 27.88


def test_a_short_batch_is_the_mean_of_its_own_rows():
    task = osc.task("airfoil", batch=700)
    problem = task.sample(jax.random.key(0))
    params = [{"w": np.full((5, 1), 0.1), "b": np.array([0.2])}]
    state = problem.batches.begin(jax.random.key(1))
    losses, sizes = [], []
    for k in range(problem.batches.per_epoch):
        batch, state = problem.batches.draw(state, k)
        losses.append(float(problem.loss(params, batch)))
        sizes.append(int(batch.weight.sum()))
    assert sizes == [700, 700, 100]
    assert np.average(losses, weights=sizes) == pytest.approx(float(problem.loss(params)), rel=1e-12)


def test_all_rows_are_everything():
    assert batches(10, None, "epochs") == batches(10, 10, "epochs") == Everything()
    assert batches(10, 10, "with replacement") == WithReplacement(10, 10)


@pytest.mark.parametrize("size", [0, -1, 1501, 2.5, True, "ten"])
def test_a_batch_must_be_a_number_of_rows_there_are(size):
    with pytest.raises(osc.BadInput, match="whole number from 1 to 1500"):
        osc.task("airfoil", batch=size)


def test_sampling_must_be_known():
    with pytest.raises(osc.BadInput, match="sampling must be one of 'epochs'"):
        osc.task("airfoil", sampling="bootstrap")
