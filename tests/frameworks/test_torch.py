"""The torch front as a torch optimizer: groups, schedulers, checkpoints, hooks, dtypes, layouts, refusals."""

import copy
import functools
import gc
import io
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import optiscope as osc
from optiscope import BadInput
from optiscope.frameworks import torch as fronts
from optiscope.frameworks.torch import Optimizer, buckets
from optiscope.rules import LogUniform, Rule, contract, hyper


def parameters(*shapes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def run(params, optimizer, steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        optimizer.step()
    return [p.detach().clone() for p in params]


def close(one, other, tolerance=1e-12):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def frozen(optimizer):
    """All that an error must leave as it was."""
    return copy.deepcopy((optimizer.state_dict(), [p.detach() for g in optimizer.param_groups for p in g["params"]]))


@pytest.fixture
def small(monkeypatch):
    """Buckets so small that a few parameters fill several, in parcels, and some are too large for any."""
    monkeypatch.setattr(buckets, "SMALL", 6)
    monkeypatch.setattr(buckets, "FULL", 10)
    monkeypatch.setattr(buckets, "SERIAL", 5)


SHAPES = [(2,), (3,), (20,), (), (4,), (2, 3), (5, 5), (0,), (1, 1)]
RULES = [osc.Adam(lr=0.1), osc.Nadam(), osc.Momentum(first="undamped", dampening=0.5), osc.WeightDecay(osc.RMSProp())]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


# ---- steps ----


@every_rule
@pytest.mark.parametrize("compiled", [False, True])
def test_parameters_step_alike_together_and_apart(rule, compiled, small):
    together, apart = parameters(*SHAPES), parameters(*SHAPES)
    one = Optimizer(together, rule, compiled=compiled)
    each = [Optimizer([p], rule, compiled=False) for p in apart]
    for step in range(12):
        for i, (p, q) in enumerate(zip(together, apart, strict=True)):
            # Some have a gradient at some steps only; the others' must not be kept from them.
            here = i % 3 < 2 or step % 3 != 1
            p.grad = torch.full_like(p, step - 4.5) if here else None
            q.grad = None if p.grad is None else p.grad.clone()
        one.step()
        for made in each:
            made.step()
        close(together, apart)
    assert [one.state[p]["step"].item() for p in together] == [12, 12, 8] * 3


def test_a_parameter_without_gradient_has_no_state_and_does_not_move():
    p, q = parameters((3,), (3,))
    before = q.detach().clone()
    optimizer = Optimizer([p, q], osc.Adam())
    assert optimizer.state_dict()["state"] == {}
    run([p], optimizer, 2)
    assert torch.equal(q, before)
    assert [*optimizer.state_dict()["state"]] == [0]


@pytest.mark.parametrize("rule", [*RULES, osc.AdamW(), osc.Lion(weight_decay=0.1), osc.L2(osc.GradientDescent(), 0.1)])
def test_lr_0_moves_nothing(rule):
    """Distributed checkpoints make the state by such a step, with zero gradients."""
    params = parameters((3,), (2, 2))
    before = [p.detach().clone() for p in params]
    optimizer = Optimizer(params, rule)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    run(params, optimizer, 2)
    close([p.detach() for p in params], before, 0)


@pytest.mark.parametrize("compiled", [False, True])
def test_maximize_climbs(compiled):
    up, down = parameters((7,)), parameters((7,))
    start = up[0].detach().clone()
    run(up, Optimizer(up, osc.Adam(), maximize=True, compiled=compiled), 5)
    run(down, Optimizer(down, osc.Adam(), compiled=compiled), 5)
    close(up[0] - start, start - down[0])


def test_closure_is_called_with_gradients_on_and_its_loss_returned():
    (p,) = parameters((3,))
    optimizer = Optimizer([p], osc.GradientDescent(lr=0.1))

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    before = p.detach().clone()
    with torch.no_grad():
        loss = optimizer.step(closure)
    close(loss.detach(), before.square().sum())
    close(p.detach(), 0.8 * before)
    assert optimizer.step() is None


def test_hooks_see_every_step():
    (p,) = parameters((3,))
    optimizer = Optimizer([p], osc.Adam())
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    run([p], optimizer, 2)
    assert seen == ["before", "after"] * 2


def test_zero_grad():
    (p,) = parameters((3,))
    optimizer = Optimizer([p], osc.Adam())
    run([p], optimizer, 1)
    optimizer.zero_grad(set_to_none=False)
    assert not p.grad.any()
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("compiled", [False, True])
def test_a_backward_pass_through_replaced_values_is_noticed(compiled):
    params = parameters((40_000,), (10,), (3, 4))  # the small ones are stepped together
    optimizer = Optimizer(params, osc.Adam(), compiled=compiled)
    losses = [p.square().sum() for p in params]
    for loss in losses:
        loss.backward(retain_graph=True)
    optimizer.step()
    for loss in losses:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


# ---- kinds of parameters ----


@every_rule
@pytest.mark.parametrize("compiled", [False, True])
def test_any_layout_in_memory(rule, compiled):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64)
    grads = [torch.randn(values.shape, generator=generator, dtype=torch.float64) for _ in range(5)]
    layouts = {
        "contiguous": values.clone(),
        "channels last": values.to(memory_format=torch.channels_last),
        "transposed": values.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        "with gaps": torch.stack([values, values], -1)[..., 0],
    }
    ends = []
    for value in layouts.values():
        for laid in layouts.values():
            p = nn.Parameter(torch.empty_strided(value.size(), value.stride(), dtype=value.dtype).copy_(value))
            optimizer = Optimizer([p], rule, compiled=compiled)
            for g in grads:
                p.grad = torch.empty_strided(laid.size(), laid.stride(), dtype=torch.float64).copy_(g)
                optimizer.step()
            ends.append(p.detach().clone())
    for end in ends[1:]:
        close(end, ends[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_complex_parameters_are_two_real_ones(compiled):
    (p,) = parameters((4,), dtype=torch.complex128)
    (q,) = (nn.Parameter(torch.view_as_real(p.detach()).clone()),)
    one, other = (Optimizer([x], osc.Nadam(), compiled=compiled) for x in (p, q))
    for k in range(5):
        g = torch.view_as_complex(torch.randn(4, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64))
        p.grad, q.grad = (g.conj().resolve_conj(), torch.view_as_real(g.conj().resolve_conj()))
        one.step()
        other.step()
    close(torch.view_as_real(p.detach()), q.detach())
    assert one.state[p]["exp_avg"].dtype == torch.complex128


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n", [7, 40_000])
def test_low_precision_parameters_have_float32_state(dtype, compiled, n):
    (p,), (q,) = parameters((n,), dtype=dtype), parameters((n,), dtype=dtype)
    optimizer = Optimizer([p], osc.Adam(lr=0.01), compiled=compiled)
    run([p], optimizer, 3)
    assert {v.dtype for v in optimizer.state[p].values()} == {torch.float32}

    # The update is float32's, rounded once, when it is added.
    rule, state, t = osc.Adam(lr=0.01), osc.Adam().init(q.detach().float(), torch), 0
    generator = torch.Generator().manual_seed(1)
    for t in (1, 2, 3):
        g = torch.randn(n, generator=generator, dtype=dtype).float()
        step, state = rule.update(g, state, q.detach().float(), torch.tensor(float(t), dtype=torch.float64), torch)
        q.data = (q.detach().float() + step).to(dtype)
    assert (p != q).float().mean() < 0.01  # compiled, a rounding may fall the other way
    close(p.detach().float(), q.detach().float(), 0.01)

    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = Optimizer([nn.Parameter(p.detach().clone())], osc.Adam(lr=0.01), compiled=compiled)
    again.load_state_dict(torch.load(file, weights_only=True))
    (other,) = again.param_groups[0]["params"]
    for name, value in optimizer.state[p].items():
        assert torch.equal(again.state[other][name], value)
        assert again.state[other][name].dtype == torch.float32


def test_numbers_that_are_not_finite_stay_where_they_are():
    p, q = parameters((3,), (2,))
    p.grad, q.grad = torch.tensor([1.0, np.nan, np.inf], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    Optimizer([p, q], osc.Momentum()).step()
    assert p.isfinite().tolist() == [True, False, False]
    assert q.isfinite().all()


@osc.rule
class Alone(Rule):
    """A rule that needs the shape, and keeps state of three kinds."""

    elementwise = False

    lr: float = hyper(0.1, LogUniform(1e-6, 1e1))

    def init(self, param, xp):
        return {"m": xp.zeros_like(param), "h": xp.stack([xp.zeros_like(param)] * 2, -1), "n": xp.sum(param) * 0}

    def update(self, grad, state, param, t, xp):
        n = state["n"] + xp.sum(grad * grad) ** 0.5
        m = state["m"] + grad / n
        return -self.lr * m * (1 - 0.5**t), {"m": m, "h": xp.stack([m, grad], -1), "n": n}


@osc.rule
class Units(Rule):
    """An elementwise rule with weights and units, as learned ones have."""

    weights: dict[str, np.ndarray]
    lr: float = hyper(0.1, LogUniform(1e-6, 1e1))

    def init(self, param, xp):
        return {"h": xp.stack([xp.zeros_like(param)] * 3, -1)}

    def update(self, grad, state, param, t, xp):
        h = xp.tanh(xp.matmul(state["h"], self.weights["recurrent"]) + grad[..., None])
        return -self.lr * xp.sum(h, -1), {"h": h}


@osc.rule
class Twins(Rule):
    """Its state begins as one array under two names, and as the parameter."""

    lr: float = hyper(0.01, LogUniform(1e-3, 1))

    def init(self, param, xp):
        zero = xp.zeros_like(param)
        return {"m": zero, "v": zero, "start": param}

    def update(self, grad, state, param, t, xp):
        m, v = state["m"] + grad, state["v"] + 2 * grad
        return -self.lr * (m + v + state["start"]), {"m": m, "v": v, "start": state["start"]}


del contract._registry["alone"], contract._registry["twins"]  # other tests list the package's own rules


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "rule",
    [Alone(), Twins(), osc.ClipByNorm(osc.Nadam()), Units({"recurrent": np.arange(9.0).reshape(3, 3) / 9})],
    ids=lambda rule: rule.name,
)
def test_rules_of_shapes_and_of_units(rule, compiled, small):
    from optiscope.frameworks.numpy import iterate

    params = parameters(*SHAPES)
    start = [p.detach().numpy().copy() for p in params]
    torch.manual_seed(2)
    grads = [[torch.randn_like(p).detach() for p in params] for _ in range(8)]
    left = iter(grads)
    steps = iterate(lambda _: [g.numpy() for g in next(left)], start, rule)
    optimizer = Optimizer(params, rule, compiled=compiled)
    for given in grads:
        for p, g in zip(params, given, strict=True):
            p.grad = g.clone()
        optimizer.step()
        reached = next(steps).x_next
        for p, x in zip(params, reached, strict=True):
            close(p.detach(), torch.tensor(x))
    again = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = Optimizer(again, rule, compiled=compiled)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    close(run(again, resumed, 3), run(params, optimizer, 3))


# ---- groups and schedulers ----


def test_groups_have_the_rules_fields_and_override_them():
    rule = osc.WeightDecay(osc.ClipByValue(osc.Adam(lr=0.1, eps_root=None), 0.5), 0.01)
    p, q = parameters((2,), (2,))
    optimizer = Optimizer([{"params": [p], "b1": 0.5, "limit": 0.1}, {"params": [q], "eps_root": 1e-3}], rule)
    first, second = optimizer.param_groups
    assert {k: v for k, v in first.items() if k != "params"} == {
        "lr": 0.1, "betas": (0.5, 0.999), "eps": 1e-8, "eps_root": None, "limit": 0.1, "weight_decay": 0.01,
        "maximize": False,
    }  # fmt: skip
    assert (second["betas"], second["eps_root"]) == ((0.9, 0.999), 1e-3)
    again = parameters((2,), (2,))
    apart = [
        Optimizer([again[0]], osc.WeightDecay(osc.ClipByValue(osc.Adam(lr=0.1, b1=0.5), 0.1), 0.01)),
        Optimizer([again[1]], osc.WeightDecay(osc.ClipByValue(osc.Adam(lr=0.1, eps_root=1e-3), 0.5), 0.01)),
    ]
    for k in range(4):
        for x, y in zip((p, q), again, strict=True):
            x.grad = y.grad = torch.full_like(x, k - 1.3)
        for each in (optimizer, *apart):
            each.step()
    close([p, q], again)


def test_what_is_written_to_a_group_holds_from_the_next_step():
    (p,), (q,) = parameters((3,)), parameters((3,))
    optimizer, other = Optimizer([p], osc.Adam()), torch.optim.Adam([q])
    for k in range(6):
        p.grad = q.grad = torch.full_like(p, k - 2.2)
        lr = [0.1, torch.tensor(0.2), torch.tensor([0.3], dtype=torch.float64)][k % 3]
        optimizer.param_groups[0]["lr"], other.param_groups[0]["lr"] = lr, float(lr)
        other.param_groups[0]["betas"] = (0.1 * k, 0.9)
        if k % 2:
            optimizer.param_groups[0]["betas"] = (0.1 * k, 0.9)
        else:
            optimizer.param_groups[0].update(b1=0.1 * k, b2=0.9)
        optimizer.step()
        other.step()
        close(p, q, 1e-7)


SCHEDULERS = [
    lambda o: lr_scheduler.StepLR(o, 3),
    lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    lambda o: lr_scheduler.LinearLR(o, total_iters=5, end_factor=1e-9),
    lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    lambda o: lr_scheduler.CyclicLR(o, 1e-3, 0.1, step_size_up=4, cycle_momentum=True),
    lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
    lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[4]
    ),
    lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
]


@pytest.mark.parametrize("make", SCHEDULERS)
@pytest.mark.parametrize(
    ("rule", "original"),
    [
        (osc.AdamW.preset("torch", lr=0.05), lambda p: torch.optim.AdamW(p, lr=0.05)),
        (osc.Momentum.preset("torch", lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    ],
    ids=["adamw", "momentum"],
)
def test_schedulers_drive_it_as_they_drive_torchs(make, rule, original):
    ends = []
    for build in (lambda p: Optimizer(p, rule), original):
        params = parameters((3, 2), (4,))
        optimizer = build(params)
        schedule = make(optimizer)
        for k in range(25):
            run(params, optimizer, 1, seed=k)
            schedule.step(1.0) if isinstance(schedule, lr_scheduler.ReduceLROnPlateau) else schedule.step()
        ends.append([p.detach() for p in params])
    close(*ends)


def test_a_rule_whose_schedule_is_its_own():
    (p,), (q,) = parameters((3,)), parameters((3,))
    schedule = osc.Cosine(0.1, 10)
    optimizer, other = Optimizer([p], osc.Scheduled(osc.Adam(), lr=schedule)), torch.optim.Adam([q])
    for k in range(12):
        p.grad = q.grad = torch.full_like(p, k - 2.2)
        other.param_groups[0]["lr"] = float(schedule(k, np))
        optimizer.step()
        other.step()
    close(p, q)
    with pytest.raises(
        BadInput, match=r"the optimizer's rule has no 'lr' to read or to schedule; its parameter groups have eps"
    ):
        lr_scheduler.StepLR(optimizer, 3)


def test_add_param_group_in_the_middle():
    (p,), (q,) = parameters((3,)), parameters((3,), seed=1)
    optimizer = Optimizer([p], osc.Adam())
    run([p], optimizer, 3)
    optimizer.add_param_group({"params": q, "lr": 0.5})
    run([p, q], optimizer, 2)
    assert [optimizer.state[x]["step"].item() for x in (p, q)] == [5, 2]
    (alone,) = parameters((3,), seed=1)
    again = Optimizer([alone], osc.Adam(lr=0.5))
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        torch.randn(3, generator=generator, dtype=torch.float64)
        alone.grad = torch.randn(3, generator=generator, dtype=torch.float64)
        again.step()
    close(q, alone)


def test_named_parameters():
    model = nn.Linear(2, 3)
    optimizer = Optimizer(model.named_parameters(), osc.Adam())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    other = Optimizer(model.named_parameters(), osc.Adam())
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["param_names"] == ["weight", "bias"]


# ---- checkpoints ----


@every_rule
def test_checkpoint_round_trip(rule, small):
    params = parameters(*SHAPES)
    optimizer = Optimizer(params, rule)
    run(params, optimizer, 4)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = Optimizer(again, rule)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    close(run(again, resumed, 4, seed=2), run(params, optimizer, 4, seed=2), 0)


@every_rule
def test_a_copy_goes_its_own_way(rule):
    params = parameters(*SHAPES)
    optimizer = Optimizer(params, rule)
    run(params, optimizer, 2)
    twins, other = copy.deepcopy((params, optimizer))
    close(run(twins, other, 3, seed=2), run(params, optimizer, 3, seed=2), 0)
    resumed = Optimizer(twins, rule)
    resumed.load_state_dict(optimizer.state_dict())
    reached, state = [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict())
    run(twins, resumed, 3)
    close([p.detach() for p in params], reached, 0)
    torch.testing.assert_close(optimizer.state_dict(), state)


def test_the_state_is_the_truth():
    """What a user writes to it, or takes from it, is what the next step starts from."""
    params = parameters((3,), (4,), (40_000,))
    optimizer = Optimizer(params, osc.Momentum(lr=1.0))
    run(params, optimizer, 2)
    for p in params:
        optimizer.state[p]["momentum_buffer"].fill_(10.0)
    optimizer.state[params[1]]["momentum_buffer"] = torch.full((4,), 20.0, dtype=torch.float64)
    optimizer.state[params[2]] = {}
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = [(q - p).detach() for p, q in zip(params, before, strict=True)]
    close([m.mean().item() for m in moved], [9.0, 18.0, 0.0])
    optimizer.state.clear()
    optimizer.step()
    assert optimizer.state[params[0]]["step"].item() == 1
    optimizer.state[params[0]]["step"].fill_(7.0)
    optimizer.step()
    assert [optimizer.state[p]["step"].item() for p in params] == [8, 2, 2]


def test_parameters_replaced_in_place_are_followed():
    """By model.to(...), and by p.data = ...; their state goes with them."""
    for n in (5, 40_000):
        p = nn.Parameter(torch.ones(n))
        optimizer = Optimizer([p], osc.Adam(lr=0.5))
        p.grad = torch.ones(n)
        optimizer.step()
        p.grad = None
        p.data = torch.zeros(n, dtype=torch.float64)
        p.grad = torch.ones(n, dtype=torch.float64)
        optimizer.step()
        close(p.detach(), torch.full((n,), -0.5, dtype=torch.float64), 1e-6)


def test_a_torch_checkpoint_of_each_kind_goes_on_in_ours():
    for original, rule in [
        (lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9)), osc.Adam()),
        (lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3), osc.AdamW()),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5), osc.Momentum.preset("torch")),
        (lambda p: torch.optim.SGD(p, lr=0.1), osc.GradientDescent()),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.7), osc.RMSProp.preset("torch")),
        (lambda p: torch.optim.NAdam(p, lr=0.1, momentum_decay=0.1), osc.Nadam()),
    ]:
        params = parameters((3,), (2, 2))
        theirs = original(params)
        run(params, theirs, 3)
        again = [nn.Parameter(p.detach().clone()) for p in params]
        mine = Optimizer(again, rule)
        mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
        # torch's NAdam keeps one number in float32
        close(run(again, mine, 5, seed=2), run(params, theirs, 5, seed=2), 1e-6 if rule.name == "nadam" else 1e-12)


def test_load_hooks_have_their_say():
    (p,) = parameters((3,))
    optimizer = Optimizer([p], osc.Adam())
    run([p], optimizer, 1)
    saved = optimizer.state_dict()
    seen = []

    def rename(_, given):
        given["param_groups"] = [{**group, "lr": 0.7} for group in given["param_groups"]]
        return given

    optimizer.register_load_state_dict_pre_hook(rename)
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    optimizer.load_state_dict(saved)
    assert seen == [0.7]


def test_parameters_and_state_are_freed_with_it():
    p = nn.Parameter(torch.ones(5))
    optimizer = Optimizer([p], osc.Adam())
    run([p], optimizer, 1)
    gone = [weakref.ref(optimizer), weakref.ref(p)]
    del optimizer, p
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


# ---- what surrounds it ----


def test_grad_scaler_skips_a_step_that_overflowed():
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    (p,) = parameters((3,), dtype=torch.float32)
    optimizer = Optimizer([p], osc.GradientDescent(lr=1.0))
    before = p.detach().clone()
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    close(p.detach(), before - 1, 1e-6)
    p.grad = torch.full((3,), np.inf)
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    close(p.detach(), before - 1, 1e-6)
    assert scaler.get_scale() == 2.0


def test_gradient_clipping_and_swa():
    model = nn.Linear(3, 1)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = Optimizer(model.parameters(), osc.GradientDescent(lr=1.0))
    before = model.weight.detach().clone()
    (1e3 * model(torch.ones(2, 3)).sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    average.update_parameters(model)
    assert (model.weight - before).norm() <= 1.0
    close(average.module.weight, model.weight, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # torch's compiler uses what torch deprecates
def test_a_compiled_training_step_steps_with_it():
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())

    def train(model, optimizer, x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    for model, how in zip(models, (train, torch.compile(train)), strict=True):
        optimizer = Optimizer(model.parameters(), osc.Adam())
        for k in range(3):
            how(model, optimizer, torch.full((4, 3), k + 1.0))
    close([*models[0].parameters()], [*models[1].parameters()], 1e-6)


# ---- what changes between steps ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_small_parameters_that_change_their_dtype_go_on_as_torchs(dtype):
    ends = []
    for kind in (fronts.SGD, torch.optim.SGD):
        params = parameters((3,), (4, 2), (5,), dtype=torch.float32)
        optimizer = kind(params, lr=0.1, momentum=0.9)
        for k in range(3):
            for p in params:
                p.grad = torch.full_like(p, 0.5)
            optimizer.step()
            if k == 0:
                params[1].data = params[1].data.to(dtype)
        ends.append([p.detach().double() for p in params])
    close(*ends, 1e-2 if dtype == torch.bfloat16 else 1e-7)


def test_parameters_that_change_their_shape_are_refused_before_anything_moves():
    params = parameters((3,), (4,), (5,))
    optimizer = fronts.SGD(params, lr=0.1, momentum=0.9)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    params[1].data = torch.zeros(2, dtype=torch.float64)
    params[1].grad = torch.ones_like(params[1])
    before = [p.detach().clone() for p in params]
    with refused("of shape .2,. has momentum_buffer of shape .4,. in the optimizer's state"):
        optimizer.step()
    close(params, before, 0)


@pytest.mark.parametrize("size", [4, 9000])
@pytest.mark.parametrize("by", ["the parameter", "the gradient"])
def test_a_gradient_of_another_shape_is_refused_before_anything_moves(size, by):
    first, second = parameters((3,), (size,))
    for rule in (osc.GradientDescent(lr=0.1), osc.ClipByNorm(osc.GradientDescent(lr=0.1))):
        second.data = torch.zeros(size, dtype=torch.float64)
        optimizer = Optimizer([first, second], rule, compiled=True)
        first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
        optimizer.step()
        if by == "the parameter":
            second.data = torch.zeros(2 * size, dtype=torch.float64)
        else:
            second.grad.data = torch.zeros(size // 2, dtype=torch.float64)
        shapes = [rf"\({x.numel()},\)" for x in (second, second.grad)]
        before = first.detach().clone()
        with refused(f"a parameter of shape {shapes[0]} has a gradient of shape {shapes[1]}; call zero_grad"):
            optimizer.step()
        close(first, before, 0)
        second.grad = None


def expanded(p):
    return torch.full((), 0.5, dtype=p.dtype).expand(p.shape)


def turned(p):
    return torch.arange(p.numel(), dtype=p.dtype).view(p.shape[::-1]).T


def negated(p):
    return torch._neg_view(torch.arange(p.numel(), dtype=p.dtype).view(p.shape))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), (90, 100)])
@pytest.mark.parametrize("gradient", [expanded, turned, negated])
@pytest.mark.parametrize("rule", [osc.GradientDescent(lr=0.1), osc.ClipByNorm(osc.GradientDescent(lr=0.1), limit=1e9)])
def test_a_gradient_may_lie_in_memory_as_it_likes(rule, gradient, shape, compiled):
    (p,) = parameters(shape)
    p.grad = gradient(p)
    want = p.detach() - 0.1 * p.grad
    Optimizer([p], rule, compiled=compiled).step()
    close(p.detach(), want)


def test_a_part_of_an_array_moves_alone():
    room = torch.zeros(200, 100, dtype=torch.float64)
    for rule in (osc.GradientDescent(lr=1.0), osc.ClipByNorm(osc.GradientDescent(lr=1.0), limit=1e9)):
        p = nn.Parameter(room[:, :60])
        p.sum().backward()
        Optimizer([p], rule, compiled=True).step()
    close(room, torch.cat([torch.full((200, 60), -2.0), torch.zeros(200, 40)], 1).double())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("changed", [lambda p: p.T, lambda p: p.as_strided((100, 100), (200, 1))])
def test_a_large_parameter_that_begins_where_it_did_but_lies_otherwise_goes_on_as_torchs(changed, compiled):
    ends = []
    for kind in (functools.partial(fronts.SGD, compiled=compiled), torch.optim.SGD):
        room = torch.zeros(200, 100, dtype=torch.float64)
        p = nn.Parameter(room[:100])
        optimizer = kind([p], lr=0.1, momentum=0.9)
        for k in range(4):
            p.grad = torch.arange(1e4, dtype=torch.float64).view(100, 100).cos()
            optimizer.step()
            if k == 1:
                p.data = changed(p.data)
        ends.append(room)
    close(*ends)


@pytest.mark.parametrize("shape", [(3, 4), (90, 100)])
def test_parameters_that_share_their_memory_both_move_it(shape):
    p, q = parameters(shape, shape)
    q.data = p.data
    start = p.detach().clone()
    p.grad, q.grad = torch.ones_like(p), 2 * torch.ones_like(q)
    fronts.SGD([p, q], lr=1.0).step()
    close(p.detach(), start - 3)


def test_the_optimizer_holds_no_memory_that_a_parameter_has_left():
    array = np.zeros(20_000)
    left = weakref.ref(array)
    p = nn.Parameter(torch.from_numpy(array))
    del array
    optimizer = fronts.Adam([p], compiled=True)
    p.grad = torch.ones_like(p)
    optimizer.step()
    p.grad, p.data = None, torch.empty(0)
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("compiled", [True, False])
def test_large_parameters_that_are_given_other_memory_go_on_as_torchs(compiled):
    """As averaged weights are swapped in and out."""
    ends = []
    for make in (lambda ps: fronts.Adam(ps, lr=0.1, compiled=compiled), lambda ps: torch.optim.Adam(ps, lr=0.1)):
        params = parameters((90, 100), (12000,))
        optimizer = make(params)
        for k in range(4):
            kept = [p.data for p in params]
            if k % 2:
                for p in params:
                    p.data = p.data.clone()
            for p in params:
                p.grad = p.detach().cos()
            optimizer.step()
            if k == 1:
                for p, data in zip(params, kept, strict=True):
                    p.data = data
        ends.append(params)
    close(*ends, 1e-6)


def test_a_bad_group_is_refused_before_another_has_moved():
    first, second = parameters((3,), (4,))
    optimizer = fronts.SGD([{"params": [first]}, {"params": [second]}], lr=0.1)
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    before = first.detach().clone()
    optimizer.param_groups[1]["lr"] = torch.ones(2)
    with refused("lr must be one number"):
        optimizer.step()
    close(first, before, 0)


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_under_another_default_device(compiled):
    (p,) = parameters((9000,))
    optimizer = Optimizer([p], osc.Adam(), compiled=compiled)
    before = p.detach().clone()
    for _ in range(2):
        p.grad = torch.ones_like(p)
        with torch.device("meta"):
            optimizer.step()
    close(p, before - 2e-3, 1e-6)


def test_parameters_without_gradients_keep_only_their_own_state():
    params = parameters(*[(2000,)] * 20)
    optimizer = Optimizer(params, osc.Adam())
    for frozen in range(20):
        for k, p in enumerate(params):
            p.grad = torch.ones_like(p) if k >= frozen else None
        optimizer.step()
    held = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for e in optimizer.state.values()
            for x in e.values()}  # fmt: skip
    assert sum(held.values()) < 1.2 * 20 * 2 * 2000 * 8


@pytest.mark.parametrize(
    ("make", "rule", "lost"),
    [
        (functools.partial(torch.optim.AdamW, weight_decay=0.5), osc.Adam(), "weight_decay=0.5"),
        (functools.partial(torch.optim.Adam, weight_decay=0.5), osc.L2(osc.Adam.preset("torch"), 0.1), None),
        (functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True), osc.Nesterov.preset("torch"), None),
        (functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5), osc.Momentum.preset("torch"), None),
    ],
)
def test_a_saved_setting_is_taken_over_or_refused(make, rule, lost):
    (p,), (q,) = parameters((3,)), parameters((3,))
    theirs, ours = make([p]), Optimizer([q], rule)
    p.grad = torch.ones_like(p)
    theirs.step()
    if lost is None:
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        q.data = p.data.clone()
        q.grad = p.grad
        theirs.step()
        ours.step()
        close(p, q, 1e-7)
    else:
        with refused(f"the state dict is of another rule: it has {lost}, and adam does not"):
            ours.load_state_dict(theirs.state_dict())


# ---- what it refuses ----


def refused(words):
    return pytest.raises(BadInput, match=words)


def test_refuses_parameters_that_cannot_be_optimized():
    p, q = parameters((2,), (3,))
    with refused("there are no parameters to optimize"):
        Optimizer([], osc.Adam())
    with refused("there are no parameters to optimize"):
        Optimizer(iter(()), osc.Adam())
    with refused("parameter 1 is computed from others .it is no leaf.; optimize those instead"):
        Optimizer([p, 2 * q], osc.Adam())
    with refused("parameter 0 is a view that conjugates or negates"):
        Optimizer([nn.Parameter(torch.fft.fft(torch.ones(4)).conj())], osc.Adam())
    with refused("parameter w is computed from others"):
        Optimizer([("w", 2 * q)], osc.Adam())
    with refused("parameter 2 is in this group, as 0, already; a parameter is optimized once"):
        Optimizer([p, q, p], osc.Adam())
    with refused("parameter 0 is in another group already"):
        Optimizer([{"params": [p]}, {"params": [p]}], osc.Adam())
    with pytest.raises(TypeError, match="iterable of Tensors"):
        Optimizer(p, osc.Adam())
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        Optimizer([1.0], osc.Adam())


def test_refuses_settings_that_mean_nothing():
    (p,) = parameters((2,))
    with refused("a rule is wanted, such as osc.Adam.lr=1e-3., not 'adam'"):
        Optimizer([p], "adam")
    with refused("compiled must be True, False or 'auto', not 'yes'"):
        Optimizer([p], osc.Adam(), compiled="yes")
    with refused("adam: lr must be a finite number ≥ 0, not -1"):
        Optimizer([{"params": [p], "lr": -1.0}], osc.Adam())
    with refused(r"adam: b2 must be a number in \[0, 1\), not 1.5"):
        Optimizer([{"params": [p], "betas": (0.9, 1.5)}], osc.Adam())
    with refused(r"lr must be one number, not a tensor of shape \(2,\)"):
        Optimizer([{"params": [p], "lr": torch.ones(2)}], osc.Adam())
    with refused("the optimizer's rule has no 'momentum' to read"):
        Optimizer([p], osc.Adam()).param_groups[0]["momentum"]


def test_a_refused_group_is_not_added():
    p, q = parameters((2,), (3,))
    optimizer = Optimizer([p], osc.Adam())
    before = frozen(optimizer)
    for group in ({"params": [q, q]}, {"params": [p]}, {"params": [q], "lr": -1.0}, {"params": [q * 2]}):
        with pytest.raises(BadInput):
            optimizer.add_param_group(group)
    torch.testing.assert_close(frozen(optimizer), before)


def test_a_sparse_gradient_is_refused_before_anything_moves():
    p, q = parameters((3,), (4, 2))
    optimizer = Optimizer([{"params": [p]}, {"params": [q]}], osc.Adam())
    before = frozen(optimizer)
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(q).to_sparse()
    with refused(r"a gradient of shape \(4, 2\) is sparse.*sparse=False.*SparseAdam"):
        optimizer.step()
    torch.testing.assert_close(frozen(optimizer), before)


def test_refuses_a_state_dict_of_another_kind():
    p, q = parameters((3,), (2, 2))
    optimizer = Optimizer([p, q], osc.Adam())
    run([p, q], optimizer, 2)
    saved, before = optimizer.state_dict(), frozen(optimizer)

    def state(shapes, rule):
        params = parameters(*shapes)
        other = Optimizer(params, rule)
        run(params, other, 1)
        return other.state_dict()

    for given, words in [
        (
            state([(3,), (2, 2)], osc.Momentum()),
            "of another rule: parameter 0 has momentum_buffer, where adam keeps exp_avg, exp_avg_sq",
        ),
        (state([(3,), (2, 2)], osc.AMSGrad()), "of another rule: parameter 0 has exp_avg, exp_avg_sq, max_exp_avg_sq"),
        (
            state([(3,), (4,)], osc.Adam()),
            r"of other parameters: parameter 1 has exp_avg of shape \(4,\), where its own shape asks for \(2, 2\)",
        ),
        (state([(3,)], osc.Adam()), r"the state dict has groups of \[1\] parameters, the optimizer of \[2\]"),
        ({**saved, "param_groups": [{**saved["param_groups"][0], "lr": -1}]}, "adam: lr must be"),
    ]:
        with refused(words):
            optimizer.load_state_dict(given)
        torch.testing.assert_close(frozen(optimizer), before)


def test_runs_hold_what_they_say(small):
    params = parameters(*SHAPES)
    optimizer = Optimizer(params, osc.Adam())
    run(params, optimizer, 1)
    ((bucket, places),) = optimizer._plans[0].buckets
    assert all(params[k] is p for k, p in zip(places, bucket.params, strict=True))
    assert [run.sizes for run in bucket.runs if isinstance(run, buckets.Joined)] == [[2, 3, 1, 4], [6, 0, 1]]
    assert [run.extent.numel() for run in bucket.runs if isinstance(run, buckets.Alone)] == [20, 25]
