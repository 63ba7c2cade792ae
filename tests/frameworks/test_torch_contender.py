"""torch's optimizers as rules: they step as they do in torch, in every place where a rule runs."""

import jax
import numpy as np
import pytest
import torch

import optiscope as osc
from optiscope.frameworks.numpy import minimize
from optiscope.frameworks.torch import from_torch
from optiscope.lab.compare import compare
from optiscope.lab.run import run
from optiscope.tasks import task

PAIRS = [
    (from_torch(torch.optim.Adam, lr=0.01, betas=(0.8, 0.9)), osc.Adam(lr=0.01, b1=0.8, b2=0.9)),
    (
        from_torch(torch.optim.SGD, lr=1e-4, momentum=0.9, dampening=0.5),
        osc.Momentum.preset("torch", lr=1e-4, dampening=0.5),
    ),
    (from_torch(torch.optim.RMSprop), osc.RMSProp.preset("torch")),
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_runs_as_our_rule_does(theirs, ours, dtype):
    one, other = (
        run(rule, task("rosenbrock"), steps=40, seeds=4, dtype=dtype, record=["params"]) for rule in (theirs, ours)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 if dtype == "float32" else 1e-10),
        one.params,
        other.params,
    )


@pytest.mark.parametrize(
    "cls", [torch.optim.RAdam, torch.optim.Rprop, torch.optim.ASGD, torch.optim.NAdam, torch.optim.Adafactor]
)
def test_steps_as_torch_does(cls):
    start = np.random.default_rng(0).standard_normal((3, 4))
    done = minimize(None, lambda x: x**3, start, from_torch(cls), steps=10)
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = cls([p])
    for _ in range(10):
        p.grad = p.detach() ** 3
        optimizer.step()
    np.testing.assert_allclose(done.x, p.detach().numpy(), rtol=1e-6)


def test_is_a_contender():
    made = compare(
        [from_torch(torch.optim.Adam, lr=0.05), osc.GradientDescent(lr=1e-3)], task("rosenbrock"), steps=20, seeds=8
    )
    assert {row["lr"] for row in made.table} == {0.05, 1e-3}
    assert any(row["rule"].startswith("fromtorch") for row in made.table)


def test_refuses_what_cannot_be_a_rule():
    with pytest.raises(osc.BadInput, match=r"torch.optim.LBFGS cannot be a rule with these settings: .*closure"):
        from_torch(torch.optim.LBFGS)
    with pytest.raises(osc.BadInput, match=r"torch.optim.Adam cannot be a rule with these settings: .*beta"):
        from_torch(torch.optim.Adam, beta=3)
