"""torch's optimizers by their own names: ours follow the originals step for step, and take over their checkpoints."""

import copy
import inspect
import io
import sys
import types
import unittest

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import optiscope as osc
from optiscope.frameworks import torch as ours

# torch's test tables need a package that torch does not install, for a base class that is not used here.
sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

NAMES = ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam"]
STEPS = 200

# Every option that has an effect, and some together.
OPTIONS = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.4},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "weight_decay": 0.1, "maximize": True},
    ],
    "Adagrad": [{}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.5, "eps": 1e-3, "weight_decay": 0.1}],
    "Adadelta": [{}, {"rho": 0.5, "eps": 1e-3}, {"weight_decay": 0.1, "maximize": True}],
    "RMSprop": [
        {},
        {"alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1},
        {"momentum": 0.9, "centered": True},
        {"centered": True, "maximize": True},
    ],
    "Adam": [
        {},
        {"betas": (0.8, 0.9), "eps": 1e-3},
        {"amsgrad": True, "weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "AdamW": [{}, {"weight_decay": 0.0}, {"amsgrad": True, "weight_decay": 0.1}],
    "Adamax": [{}, {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}],
    "NAdam": [
        {},
        {"momentum_decay": 0.1, "weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
}
CASES = [(name, options) for name in NAMES for options in OPTIONS[name]]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda given: str(given))
every_class = pytest.mark.parametrize("name", NAMES)


def original(name):
    return getattr(torch.optim, name)


def drop_in(name):
    return getattr(ours, name)


@pytest.fixture(autouse=True)
def float64():
    """torch keeps NAdam's product of momenta in the default dtype, whatever the parameters'."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start(dtype=torch.float64):
    """Parameters of several shapes."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in ((3, 4), (5,), (), (2, 1))]


def groups(params, options):
    """The first parameter on its own, at another rate and without decay."""
    return [{"params": params[1:]}, {"params": params[:1], "lr": 0.003, "weight_decay": 0.0}], {"lr": 0.01, **options}


def train(params, optimizer, steps, seed=1, schedule=None):
    """Down the noisy slopes of a bowl."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in params:
            p.grad = p.detach() + torch.randn(p.shape, generator=generator, dtype=p.dtype)
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return params


def same(one, other, tolerance=1e-11):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def changing(optimizer):
    """A rate that is halved and then trebled."""
    return lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 if k < 80 else 0.5 if k < 140 else 1.5)


@every_class
def test_signature_defaults_and_groups_are_torchs(name):
    theirs, mine = (inspect.signature(cls).parameters for cls in (original(name), drop_in(name)))
    assert {k: (p.kind, p.default) for k, p in mine.items() if k != "compiled"} == {
        k: (p.kind, p.default) for k, p in theirs.items()
    }
    p = nn.Parameter(torch.zeros(2))
    assert drop_in(name)([p]).state_dict() == original(name)([p]).state_dict() | {"state": {}}
    assert drop_in(name)([p]).defaults == original(name)([p]).defaults


@every_case
def test_follows_the_original(name, options):
    """For 200 steps with a changing rate, in two groups."""
    walked = []
    for cls in (original(name), drop_in(name)):
        params = start()
        own, shared = groups(params, options)
        optimizer = cls(own, **shared)
        walked.append(train(params, optimizer, STEPS, schedule=changing(optimizer)))
    same(*walked)
    assert all(p.isfinite().all() for p in walked[0])


@every_case
@pytest.mark.parametrize("into", ["ours", "torch's"])
def test_goes_on_from_the_others_checkpoint(name, options, into):
    whole = start()
    own, shared = groups(whole, options)
    optimizer = original(name)(own, **shared)
    train(whole, optimizer, 30)
    train(whole, optimizer, 30, seed=2)

    first, second = (original(name), drop_in(name)) if into == "ours" else (drop_in(name), original(name))
    params = start()
    own, shared = groups(params, options)
    optimizer = first(own, **shared)
    train(params, optimizer, 30)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer = second(groups(params, {})[0])  # at its defaults: the checkpoint brings the settings
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    train(params, optimizer, 30, seed=2)
    same(whole, params)


@every_case
def test_checkpoints_have_torchs_names(name, options):
    saved = []
    for cls in (original(name), drop_in(name)):
        params = start()
        own, shared = groups(params, options)
        optimizer = cls(own, **shared)
        train(params, optimizer, 3)
        saved.append(optimizer.state_dict())
    theirs, mine = saved
    assert mine["param_groups"] == theirs["param_groups"]
    for index, entry in theirs["state"].items():
        entry = {k: v for k, v in entry.items() if v is not None}
        assert mine["state"][index].keys() - {"step"} == entry.keys() - {"step"}
        for key, value in entry.items():
            here = mine["state"][index][key]
            assert (here.shape, here.device) == (value.shape, value.device)
            torch.testing.assert_close(here, value, check_dtype=key != "step")


def database():
    for info in optim_db:
        if (name := info.optim_cls.__name__) in NAMES:
            for given in info.optim_inputs_func(device="cpu"):
                if not given.kwargs.get("capturable") and not given.kwargs.get("differentiable"):
                    yield pytest.param(name, given.kwargs, info, id=f"{name}: {given.desc}")


@pytest.mark.parametrize(("name", "options", "info"), [*database()])
@pytest.mark.parametrize(
    "dtype", [torch.float64, *(pytest.param(d, marks=pytest.mark.slow) for d in (torch.float32, torch.complex128))]
)
def test_torchs_own_inputs(name, options, info, dtype):
    """Each with the schedulers torch tests it with, and a checkpoint exchanged with the original's at step 10."""
    for made in [[], *info.scheduler_inputs]:
        pairs = []
        for cls in (original(name), drop_in(name)):
            params = start(dtype)
            optimizer = cls(params, **copy.deepcopy(options))
            pairs.append((params, optimizer, [make(optimizer) for make in made]))
        for step in range(20):
            if step == 10:
                dicts = [copy.deepcopy(optimizer.state_dict()) for _, optimizer, _ in pairs]
                for (_, optimizer, _), given in zip(pairs, reversed(dicts), strict=True):
                    optimizer.load_state_dict(given)
            for params, optimizer, schedules in pairs:
                torch.manual_seed(step)
                for p in params:
                    p.grad = torch.randn_like(p)
                optimizer.step()
                for schedule in schedules:
                    schedule.step(1.0) if isinstance(schedule, lr_scheduler.ReduceLROnPlateau) else schedule.step()
        tolerance = 1e-5 if dtype == torch.float32 else 1e-11
        for a, b in zip(pairs[0][0], pairs[1][0], strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def refusals():
    for info in optim_db:
        if (name := info.optim_cls.__name__) in NAMES:
            for given in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
                yield pytest.param(name, given, id=f"{name}: {given.error_regex}")


ACCEPTED = (
    "fused",
    "foreach=True",
    "both floats",
    "should be with/without names",
    "duplicate parameters",
    "more than one",
)
"""Not errors here, since foreach and fused have no effect; or tested with the words used here, in test_torch."""


@pytest.mark.parametrize(("name", "given"), [*refusals()])
def test_refuses_what_torch_refuses(name, given):
    if any(words in given.error_regex for words in ACCEPTED):
        return
    made = given.optimizer_error_input
    with pytest.raises(given.error_type):
        drop_in(name)(made.params, **made.kwargs)


@every_class
@pytest.mark.parametrize("flag", ["capturable", "differentiable"])
def test_refuses_what_it_has_not(name, flag):
    if flag in inspect.signature(drop_in(name)).parameters:
        with pytest.raises(osc.BadInput, match=rf"{flag}=True is not supported; torch.optim.{name} has it"):
            drop_in(name)([nn.Parameter(torch.zeros(2))], **{flag: True})


def test_refuses_nesterov_without_momentum():
    with pytest.raises(osc.BadInput, match=r"nesterov=True needs momentum > 0 and dampening 0, not 0 and 0"):
        ours.SGD([nn.Parameter(torch.zeros(2))], nesterov=True)
    with pytest.raises(osc.BadInput, match="lr_decay must be ≥ 0, not -1"):
        ours.Adagrad([nn.Parameter(torch.zeros(2))], lr_decay=-1)
