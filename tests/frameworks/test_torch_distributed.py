"""The torch front where a model is spread over processes: DDP, FSDP2 and distributed checkpoints, by gloo on a CPU."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
from torch import nn

import optiscope as osc
from optiscope.frameworks.torch import Optimizer

RULES = {
    "adam": osc.Adam(lr=0.05),
    "nadam": osc.Nadam(lr=0.05),
    "decayed": osc.WeightDecay(osc.Momentum(lr=0.05), 0.1),
    "clipped": osc.ClipByNorm(osc.Adam(lr=0.05), 0.1),
}
STEPS = 4


def network():
    """Layers of odd sizes, so that shards are uneven and some are empty."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def batch(step, rank=None):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    return x if rank is None else x[4 * rank : 4 * rank + 4]


def train(model, optimizer, steps, rank=None):
    for step in steps:
        optimizer.zero_grad()
        x = batch(step, rank)
        (model(x) - x.sum(1, keepdim=True).sin()).square().mean().backward()
        optimizer.step()


def alone(rule, steps):
    model = network()
    train(model, Optimizer(model.parameters(), rule), range(steps))
    return [p.detach() for p in model.parameters()]


def close(one, other):
    torch.testing.assert_close(list(one), list(other), rtol=1e-11, atol=1e-11)


def in_ddp(rank):
    for rule in RULES.values():
        model = nn.parallel.DistributedDataParallel(network())
        train(model, Optimizer(model.parameters(), rule), range(STEPS), rank)
        close((p.detach() for p in model.parameters()), alone(rule, STEPS))


def sharded():
    from torch.distributed.fsdp import fully_shard

    model = network()
    for layer in (model[0], model[2]):
        fully_shard(layer)
    return fully_shard(model)


def in_fsdp(rank):
    for rule in RULES.values():
        model = sharded()
        optimizer = Optimizer(model.parameters(), rule)
        train(model, optimizer, range(STEPS), rank)
        close((p.detach().full_tensor() for p in model.parameters()), alone(rule, STEPS))
        for p in model.parameters():
            arrays = [value for value in optimizer.state[p].values() if value.ndim]
            assert arrays
            assert {(value.shape, value.placements) for value in arrays} == {(p.shape, p.placements)}


def in_checkpoints(rank):
    from torch.distributed.checkpoint import state_dict as saved

    whole = saved.StateDictOptions(full_state_dict=True)
    for rule in RULES.values():
        for options in (None, whole):
            model = sharded()
            optimizer = Optimizer(model.parameters(), rule)
            train(model, optimizer, range(STEPS), rank)
            kept = saved.get_state_dict(model, optimizer, options=options)
            if options is None:
                again = sharded()
            else:  # a checkpoint of shards goes on in one process, whichever has it
                again = network()
                if rank:
                    continue
            other = Optimizer(again.parameters(), rule)
            saved.set_state_dict(again, other, model_state_dict=kept[0], optim_state_dict=kept[1], options=options)
            train(again, other, range(STEPS, 2 * STEPS), rank if options is None else None)
            ends = [p.detach() for p in again.parameters()]
            close([p.full_tensor() if options is None else p for p in ends], alone(rule, 2 * STEPS))


def in_tensor_parallel(rank):
    """A gradient there may be of another placement than its parameter: a part of a sum, for a replicated one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, parallel

    ends = []
    for make in (lambda ps: Optimizer(ps, osc.GradientDescent(lr=0.1)), lambda ps: torch.optim.SGD(ps, 0.1)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)).double()
        plan = {
            "0": parallel.SequenceParallel(sequence_dim=0),
            "1": parallel.ColwiseParallel(input_layouts=Shard(0)),
            "3": parallel.RowwiseParallel(),
        }
        model = parallel.parallelize_module(model, init_device_mesh("cpu", (2,)), plan)
        optimizer = make(model.parameters())
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        model(x[4 * rank : 4 * rank + 4]).square().sum().backward()
        assert any(p.grad.placements != p.placements for p in model.parameters())
        optimizer.step()
        ends.append([p.detach().full_tensor() for p in model.parameters()])
    close(*ends)


def worker(rank, port, what):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    what(rank)
    dist.barrier()
    os._exit(0)  # gloo's threads, where a device mesh still holds them, abort an interpreter that ends


@pytest.mark.parametrize("what", [in_ddp, in_fsdp, in_checkpoints, in_tensor_parallel], ids=lambda what: what.__name__)
def test_two_processes_are_one(what):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(worker, (port, what), nprocs=2)
