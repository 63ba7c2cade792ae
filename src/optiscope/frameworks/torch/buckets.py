"""Buckets: parameters that one call of a kernel updates, their state side by side in one array for each of its names.

What a user sees in `optimizer.state`, and what a checkpoint holds, are the parameters' own parts of those arrays. The
state there is the truth: a bucket that no longer matches it is broken up and gathered anew.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, repeat
from typing import Any

import torch
from torch import Tensor

from ...errors import BadInput
from ...rules.contract import Rule, State
from ...rules.wrappers import Wrapper
from .kernels import Advance, Step, as_line, compute_dtype, extent

SMALL = 2**13
"""Up to this many entries a tensor is copied into its bucket and back; beyond, a call of its own costs less."""
FULL = 2**18
"""How many entries fill a bucket: what is copied then stays in the processor's cache."""

SERIAL = 2**15
"""torch.cat of fewer numbers is a plain copy; for more it makes threads ready, which takes longer than copying."""

Entry = dict[str, Any]
"""The state of one parameter, by the names that torch uses."""
Room = Callable[[int, torch.dtype, torch.device], tuple[Tensor, ...]]
"""Room for so many gradients and parameters, shared by all buckets: what is in it is worth nothing after a step."""


class Alone:
    """A large parameter, which a kernel updates as it lies."""

    # No dict: it would be one more thing to fetch from memory for each of many parameters.
    __slots__ = ("arrays", "extent", "layout", "params", "plain", "scalars")

    def __init__(self, param: Tensor, rule: Rule) -> None:
        self.params, self.plain = [param], _is_plain(param)
        held = bare(param.detach())
        self.layout, self.extent = _layout(held), extent(held)
        self.arrays, self.scalars = _begun(rule, as_line(held, self.extent).to(compute_dtype(held.dtype)))

    def parts(self, array: Tensor) -> Iterator[Tensor]:
        """The parameter's part of an array, which is all of it, in the parameter's shape and any further axes."""
        *_, shape, strides = self.layout
        more = array.shape[1:]
        wider = [stride * math.prod(more) for stride in strides]
        yield array.as_strided((*shape, *more), (*wider, *array.stride()[1:]))

    def fits(self) -> bool:
        """Whether the parameter is still of its dtype, device and shape, and lies as it did."""
        (param,) = self.params
        return _layout(param if self.plain else bare(param.detach())) == self.layout

    def advance(self, step: Step, rest: Iterator[Tensor]) -> State:
        """Take a step with the next gradient of `rest`, and return the state's new scalars."""
        grad, (param,) = next(rest), self.params
        if not self.plain:
            grad, param = _beside(grad, param), bare(param.detach())
        return step(_laid_as(grad, param), param, self.arrays, self.extent)


class Joined:
    """Small parameters, which a kernel updates side by side: copied there and back."""

    def __init__(self, params: list[Tensor], rule: Rule, room: Room) -> None:
        self.params, self.plain = params, all(map(_is_plain, params))
        self.kind = params[0].dtype, params[0].device
        held = self._bare()
        self.sizes, self.shapes = [p.numel() for p in held], [p.shape for p in held]
        self.lines = room(sum(self.sizes), compute_dtype(held[0].dtype), held[0].device)
        self.as_is = all(p.ndim == 1 for p in held)
        self.parcels = list(_parcels(self.sizes))
        self.arrays, self.scalars = _begun(rule, self._joined(self._flat(held), self.lines[1]))

    def parts(self, array: Tensor) -> Iterator[Tensor]:
        """Each parameter's part of an array, of the parameter's shape and any further axes."""
        parts = torch.split(array, self.sizes)
        yield from (part.view((*shape, *array.shape[1:])) for part, shape in zip(parts, self.shapes, strict=True))

    def fits(self) -> bool:
        """Whether the parameters are still of their dtype, device and shapes."""
        dtype, device = self.kind
        return (
            [p.shape for p in self._bare()] == self.shapes
            and {p.dtype for p in self.params} == {dtype}
            and {p.device for p in self.params} == {device}
        )

    def advance(self, step: Step, rest: Iterator[Tensor]) -> State:
        """Take a step with as many gradients from `rest`, and return the state's new scalars."""
        grads = list(islice(rest, len(self.params)))
        if not self.plain:
            grads = list(map(_beside, grads, self.params))
        params = self._bare()
        flat = self._flat(params)
        grad_line, line = map(self._joined, (self._flat(grads), flat), self.lines)
        new = step(grad_line, line, self.arrays, line)
        if line.dtype == params[0].dtype and (self.as_is or all(p.is_contiguous() for p in params)):
            torch.split_with_sizes_copy(line, self.sizes, out=flat)
        else:
            torch._foreach_copy_(params, list(self.parts(line)))
        return new

    def _bare(self) -> list[Tensor]:
        return self.params if self.plain else [bare(p.detach()) for p in self.params]

    def _joined(self, flat: list[Tensor], line: Tensor) -> Tensor:
        """The tensors side by side in `line`."""
        for tensors, numbers in self.parcels:
            torch.cat(flat[tensors], out=line[numbers])
        return line

    def _flat(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors if self.as_is else [x if x.ndim == 1 else x.reshape(-1) for x in tensors]


class Bucket:
    """Parameters of one device and dtype, all after the same number of steps."""

    def __init__(self, params: list[Tensor], state: Mapping[Tensor, Entry], rule: Rule, room: Room) -> None:
        self.runs = [_run(together, rule, room) for together in _together(params)]
        self.params = [p for run in self.runs for p in run.params]
        self.numels = list(map(Tensor.numel, self.params))
        self.unseen = [p for run in self.runs if isinstance(run, Alone) or not run.plain for p in run.params]
        """Those of whose changes autograd is not told by the operation that makes them."""
        self.entries = [state[p] for p in self.params]
        first = self.runs[0]
        counts = {name: value.cpu().repeat(len(params)) for name, value in first.scalars.items()}
        counts["step"] = torch.zeros(len(params), dtype=torch.float32, device="cpu")
        self.counts = {name: count.numpy() for name, count in counts.items()}
        self.names = {"step": "step", **{name: called(rule, name) for name in (*first.arrays, *first.scalars)}}
        self.shown = {name: self._show(name, count.unbind()) for name, count in counts.items()}
        for name in first.arrays:
            self.shown[name] = self._show(name, [part for run in self.runs for part in run.parts(run.arrays[name])])
        self.written = {name: count.tobytes() for name, count in self.counts.items()}

    def _show(self, name: str, parts: Sequence[Tensor]) -> list[Tensor]:
        """Put the parts of the bucket's arrays in place of what the entries hold, the values kept."""
        called, shown = self.names[name], []
        for param, entry, part in zip(self.params, self.entries, parts, strict=True):
            if called in entry:
                held = bare(torch.as_tensor(entry[called]))
                if held.shape != part.shape:
                    raise BadInput(
                        f"a parameter of shape {tuple(param.shape)} has {called} of shape {tuple(held.shape)} in the "
                        "optimizer's state; give it back its shape, or make a new optimizer"
                    )
                part.copy_(held)
            entry[called] = part if name in self.counts else _as_shard(shown_as(part, param), param)
            shown.append(entry[called])
        return shown

    def intact(self, state: Mapping[Tensor, Entry]) -> bool:
        """Whether parameters and state are still what the last step left."""
        return (
            all(run.fits() for run in self.runs)
            and all(map(operator.is_, map(state.get, self.params), self.entries))
            and all(
                all(map(operator.is_, map(dict.get, self.entries, repeat(self.names[name])), parts))
                for name, parts in self.shown.items()
            )
            and all(count.tobytes() == self.written[name] for name, count in self.counts.items())
        )

    def suits(self, grads: list[Tensor]) -> bool:
        """Whether the gradients are as long as the parameters."""
        return list(map(Tensor.numel, grads)) == self.numels

    def advance(self, by: Advance, grads: list[Tensor]) -> None:
        """Take one step."""
        t = float(self.counts["step"][0]) + 1
        scalars = {name: float(count[0]) for name, count in self.counts.items() if name != "step"}
        step = by(t, scalars)
        rest, new = iter(grads), {}
        for run in self.runs:
            new = run.advance(step, rest)
        # A backward pass through values that are gone must still be noticed.
        torch.autograd.graph.increment_version(self.unseen)
        for name, value in {**new, "step": t}.items():
            self.counts[name].fill(value)
            self.written[name] = self.counts[name].tobytes()


def _run(params: list[Tensor], rule: Rule, room: Room) -> Alone | Joined:
    if len(params) == 1 and _is_dense(bare(params[0].detach())):
        return Alone(params[0], rule)
    return Joined(params, rule, room)


def _begun(rule: Rule, line: Tensor) -> tuple[State, State]:
    """The state's arrays, as long as the line and each with memory of its own, and its scalars."""
    state = rule.init(line, torch)
    arrays, taken = {}, {line.untyped_storage().data_ptr()}
    for name, x in state.items():
        if x.ndim:
            arrays[name] = x.clone() if x.untyped_storage().data_ptr() in taken else x
            taken.add(x.untyped_storage().data_ptr())
    return arrays, {name: x for name, x in state.items() if not x.ndim}


def _together(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Each large parameter alone, and the small ones up to so many that a run is full. Two that share their memory
    move one after the other."""
    small: list[Tensor] = []
    full = 0
    taken: set[int] = set()
    for p in params:
        if p.numel() > SMALL:
            yield [p]
            continue
        where = bare(p.detach()).data_ptr()
        if full + p.numel() > FULL or where in taken:
            yield small
            small, full, taken = [], 0, set()
        small.append(p)
        full += p.numel()
        if p.numel():
            taken.add(where)
    if small:
        yield small


def _parcels(sizes: list[int]) -> Iterator[tuple[slice, slice]]:
    """Which tensors are joined in a call, and where their numbers lie."""
    ends = [0, *accumulate(sizes)]
    first = 0
    for i in range(1, len(ends)):
        if i == len(sizes) or ends[i + 1] - ends[first] >= SERIAL:
            yield slice(first, i), slice(ends[first], ends[i])
            first = i


class Whole:
    """One parameter of a rule that needs its shape, gathered from its shards where it has any."""

    def __init__(self, param: Tensor, entry: Entry, rule: Rule) -> None:
        self.params, self.entry = [param], entry
        whole = _whole(param.detach())
        state = rule.init(whole.to(compute_dtype(whole.dtype)), torch)
        self.names = {name: called(rule, name) for name in state}
        for name, value in state.items():
            entry.setdefault(self.names[name], _sharded(shown_as(value, param), param))
        entry.setdefault("step", torch.zeros((), dtype=torch.float32, device="cpu"))

    def intact(self, state: Mapping[Tensor, Entry]) -> bool:
        """Whether there is still a state for this parameter."""
        return state.get(self.params[0]) is self.entry and self.entry.keys() >= {*self.names.values(), "step"}

    def suits(self, grads: list[Tensor]) -> bool:
        """Whether the gradient is of the parameter's shape."""
        return grads[0].shape == self.params[0].shape

    def advance(self, by: Advance, grads: list[Tensor]) -> None:
        """Take one step."""
        there = [self.params[0].detach(), *(self.entry[called] for called in self.names.values())]
        whole, *arrays = map(_whole, there)
        by(float(self.entry["step"]) + 1, {})(_whole(grads[0]), whole, dict(zip(self.names, arrays, strict=True)), None)
        for shard, moved in zip(there, (whole, *arrays), strict=True):
            if is_sharded(shard):
                shard.copy_(_sharded(moved, shard))
        self.entry["step"].add_(1)


def release(entry: Entry) -> None:
    """Give a parameter's state memory of its own, in place of a part of a bucket's."""
    for name, x in entry.items():
        if isinstance(x, Tensor) and not is_sharded(x) and x.untyped_storage().nbytes() > x.nbytes:
            entry[name] = x.clone()


def called(rule: Rule, name: str) -> str:
    """What torch calls an entry of the state: its own optimizer's name where it has one."""
    while isinstance(rule, Wrapper):
        rule = rule.rule
    return rule.slots.get(name, (None,))[0] or name


def _is_plain(x: Tensor) -> bool:
    """Whether a tensor's numbers are all here and real."""
    return not (x.is_complex() or is_sharded(x))


def is_sharded(x: Tensor) -> bool:
    """Whether x is a DTensor, whose module nobody need import for this."""
    return hasattr(x, "placements")


def bare(x: Any) -> Tensor:
    """The numbers of a tensor that are here and real: a DTensor's shard, a complex tensor's two parts."""
    return _real(x.to_local() if is_sharded(x) else x)


def _whole(x: Any) -> Tensor:
    return _real(x.full_tensor() if is_sharded(x) else x)


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def shown_as(part: Tensor, param: Tensor) -> Tensor:
    """A parameter's state as users see it: complex where the parameter is."""
    return torch.view_as_complex(part) if param.is_complex() and part.ndim == param.ndim + 1 else part


def _as_shard(part: Tensor, param: Any) -> Tensor:
    """The state of a parameter's shard, as a shard itself."""
    if not is_sharded(param):
        return part
    from torch.distributed.tensor import DTensor

    form = torch.empty((*param.shape, *part.shape[param.ndim :]), device="meta")
    return DTensor.from_local(
        part, param.device_mesh, param.placements, run_check=False, shape=form.shape, stride=form.stride()
    )


def _sharded(whole: Tensor, like: Any) -> Tensor:
    if not is_sharded(like) or whole.shape[: like.ndim] != like.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def _beside(grad: Any, param: Any) -> Tensor:
    """The gradient's numbers for those of the parameter that are here."""
    if is_sharded(param) and (grad.device_mesh, grad.placements) != (param.device_mesh, param.placements):
        grad = grad.redistribute(param.device_mesh, param.placements)
    return bare(grad)


def _layout(x: Tensor) -> tuple[Any, ...]:
    return x.dtype, x.device, x.shape, x.stride()


def _is_dense(x: Tensor) -> bool:
    """Whether x fills its memory without a gap, so that it can be read as a line."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.is_contiguous() or (x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim]))


def _laid_as(x: Tensor, y: Tensor) -> Tensor:
    """x, of y's shape, with the dtype and the order in memory of y."""
    same = x.stride() == y.stride() or (x.is_contiguous() and y.is_contiguous())
    return x if same and x.dtype == y.dtype and not x.is_neg() else torch.empty_like(y).copy_(x)
