"""The PyTorch front: any rule as a `torch.optim.Optimizer`.

    from optiscope.frameworks.torch import Optimizer
    optimizer = Optimizer(model.parameters(), osc.Adam(lr=1e-3))

Everything around it stays as it is: schedulers, parameter groups, checkpoints, hooks, GradScaler, DDP, FSDP2.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ...errors import BadInput
from ...rules.contract import Rule
from ...rules.wrappers import Scheduled, Wrapper
from . import kernels
from .buckets import FULL, Bucket, Entry, Whole, bare, called, is_sharded, release, shown_as

WORTH_COMPILING = 2**16
"""From this many numbers on, steps repay the seconds that compiling takes."""

_NOT_SETTINGS = ("params", "param_names")


class Group(dict[str, Any]):
    """A parameter group: a dict, but for the sentence where a scheduler looks for what the rule has not."""

    def __missing__(self, key: str) -> Any:
        has = ", ".join(k for k in self if k not in _NOT_SETTINGS)
        raise BadInput(f"the optimizer's rule has no {key!r} to read or to schedule; its parameter groups have {has}")


@dataclasses.dataclass
class Plan:
    """How a group's parameters are stepped: in buckets, but for those that never had a gradient."""

    form: Any
    params: list[int]
    """Their marks: a list of other parameters needs another plan."""
    buckets: list[tuple[Bucket | Whole, list[int]]]
    """Each with the places of its parameters in the group."""
    waiting: list[int]
    """The places of those that never had a gradient."""


class Optimizer(torch.optim.Optimizer):
    """A rule as a PyTorch optimizer.

    The rule's hyperparameters are entries of every parameter group under their own names, except that `b1` and `b2`
    are the pair `betas`, where torch's schedulers and checkpoints look for them. Each group may override them, and
    what is assigned to `group["lr"]` holds from the next step on. The state has the names that torch's own optimizer
    of the kind gives it, and "step"; float16 and bfloat16 parameters keep it in float32.
    """

    def __init__(self, params: Any, rule: Rule, *, maximize: bool = False, compiled: bool | str = "auto") -> None:
        """
        Args:
            params: tensors, (name, tensor) pairs, or dicts with "params" and entries that override the rule's.
            rule: any rule. An elementwise one runs as a call of one kernel for each large parameter and one for many
                small ones; any other tensor by tensor, uncompiled, and on whole tensors where they are sharded.
            maximize: climb instead of descending.
            compiled: True, False, or "auto": compiled if there is a compiler and enough to do.

        Raises:
            BadInput: there are no parameters, one is no leaf or given twice, or a setting is invalid.
        """
        if not isinstance(rule, Rule):
            raise BadInput(f"a rule is wanted, such as osc.Adam(lr=1e-3), not {rule!r}")
        self._given = kernels.as_torch(rule)
        self._begin(params, {**_settings(self._given), "maximize": maximize}, compiled)

    def _begin(self, params: Any, defaults: dict[str, Any], compiled: bool | str) -> None:
        if compiled not in (True, False, "auto"):
            raise BadInput(f"compiled must be True, False or 'auto', not {compiled!r}")
        self._compiled = compiled
        self._forget()
        _check(self._rule(defaults))
        if not isinstance(params, Tensor):
            params = list(params)
            if not params:
                raise BadInput("there are no parameters to optimize; model.parameters() is empty once it was read")
        super().__init__(params, defaults)

    def _forget(self) -> None:
        """Drop what is derived from the groups and the state."""
        self._plans: dict[int, Plan] = {}
        self._rooms: dict[Any, Tensor] = {}
        self._size: int | None = None
        self._wrapped = False

    def _rule(self, group: dict[str, Any]) -> Rule:
        """The rule as a group sets it, unchecked: a scheduler's rounding must not stop a run at its last step."""
        return _with(self._given, dict(group))

    # ---- torch's own methods ----

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own.

        Raises:
            BadInput: a parameter is no leaf or is here already, or a setting is invalid; nothing is added then.
        """
        if not isinstance(param_group, dict) or isinstance(param_group["params"], set):
            return super().add_param_group(param_group)  # torch's own TypeError
        given = param_group["params"]
        group = {**param_group, "params": [given] if isinstance(given, Tensor) else list(given)}
        seen = {id(p): "in another group" for g in self.param_groups for p in g["params"]}
        for i, named in enumerate(group["params"]):
            name, p = named if isinstance(named, tuple) else (i, named)
            if isinstance(p, Tensor):
                if not (p.is_leaf or p.retains_grad):
                    raise BadInput(f"parameter {name} is computed from others (it is no leaf); optimize those instead")
                if p.is_conj() or p.is_neg():
                    raise BadInput(f"parameter {name} is a view that conjugates or negates; optimize a clone of it")
                if id(p) in seen:
                    raise BadInput(f"parameter {name} is {seen[id(p)]} already; a parameter is optimized once")
                seen[id(p)] = f"in this group, as {name},"
        _fold(group, self.defaults)
        _check(self._rule({**self.defaults, **group}))
        super().add_param_group(group)
        self.param_groups[-1] = Group(group)
        self._size = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that are there; parameters without one stay.

        Returns:
            What `closure`, which computes the loss and the gradients anew, returned.

        Raises:
            BadInput: a gradient is sparse, or not of its parameter's shape; nothing has moved then.
        """
        return self._untraced(closure) if torch.compiler.is_compiling() else self._step(closure)

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # All is looked at before anything moves.
        given = [[p.grad for p in group["params"]] for group in self.param_groups]
        for group, grads in zip(self.param_groups, given, strict=True):
            _fold(group, self.defaults)
            for grad in grads:
                if grad is not None and grad.layout is not torch.strided:
                    raise BadInput(
                        f"a gradient of shape {tuple(grad.shape)} is sparse, and rules act on every entry; give "
                        "nn.Embedding sparse=False, or that parameter torch.optim.SparseAdam"
                    )
        rules = [self._rule(group) for group in self.param_groups]
        ready = []
        for i, (group, rule) in enumerate(zip(self.param_groups, rules, strict=True)):
            form, leaves = kernels.taken_apart(rule)
            by = self._advance(rule, form, leaves, group["maximize"])
            ready += [(by, *each) for each in self._buckets(i, group["params"], given[i], rule, form)]
        for by, bucket, grads in ready:
            bucket.advance(by, grads)
        return loss

    # A compiled training step calls it as it is: what it does to buckets is nothing to trace.
    _untraced = torch.compiler.disable(_step)  # type: ignore[no-untyped-call]  # torch gives it no types

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the settings and the state that `state_dict()` gave, here or in torch's own optimizer of the kind.

        Raises:
            BadInput: it is of another rule, or of parameters of other shapes; nothing has changed then.
        """
        admitted: list[dict[str, Any]] = []

        def admit(_: Any, given: dict[str, Any]) -> dict[str, Any]:
            admitted.append(self._admitted(given))
            return admitted[0]

        hook = self.register_load_state_dict_pre_hook(admit)  # the last, so that it sees what the others make of it
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        # torch casts state to the parameter's dtype, and float32 must not pass through bfloat16.
        for saved, group in zip(admitted[0]["param_groups"], self.param_groups, strict=True):
            for index, p in zip(saved["params"], group["params"], strict=True):
                for name, value in admitted[0]["state"].get(index, {}).items():
                    if isinstance(value, Tensor) and self.state[p][name].dtype != value.dtype:
                        self.state[p][name] = value.to(p.device)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name in ("_given", "_compiled")}
        return {**super().__getstate__(), **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        self.param_groups = [Group({**self.defaults, **group}) for group in self.param_groups]

    # ---- ours ----

    def _advance(self, rule: Rule, form: Any, leaves: list[Any], maximize: bool) -> kernels.Advance:
        if self._size is None:
            params = [p for g in self.param_groups for p in g["params"]]
            self._size = sum(p.numel() for p in params)
            self._wrapped = any(not is_sharded(p) and is_traceable_wrapper_subclass(p) for p in params)
        small = self._compiled == "auto" and self._size < WORTH_COMPILING
        # A kernel would write to where a tensor that wraps others has nothing.
        if not rule.elementwise or self._compiled is False or small or self._wrapped:
            return kernels.eager(rule, maximize)
        return kernels.compiled(rule, form, leaves, maximize, insist=self._compiled is True)

    def _buckets(
        self, i: int, params: list[Tensor], grads: list[Tensor | None], rule: Rule, form: Any
    ) -> Iterator[tuple[Bucket | Whole, list[Tensor]]]:
        """The buckets that have gradients, with these; parameters that cannot stay together are gathered anew."""
        marks = list(map(id, params))
        plan = self._plans.get(i)
        if plan is None or plan.form != form or plan.params != marks:
            plan = self._plans[i] = Plan(form, marks, [], list(range(len(params))))
        kept, loose = [], plan.waiting
        for bucket, places in plan.buckets:
            missing = [grads[k] is None for k in places]
            if all(missing) or (not any(missing) and bucket.intact(self.state)):
                kept.append((bucket, places))
            else:
                loose = loose + places
                for k, absent in zip(places, missing, strict=True):
                    if absent:  # its state would keep the arrays of a whole bucket alive
                        release(self.state.get(params[k], {}))
        if with_gradient := [k for k in loose if grads[k] is not None]:
            kept += self._gathered(params, with_gradient, rule)
        plan.buckets, plan.waiting = kept, [k for k in loose if grads[k] is None]
        for bucket, places in kept:
            if grads[places[0]] is not None:
                given: list[Tensor] = [grads[k] for k in places]  # type: ignore[misc]  # a bucket that is kept has them all or none
                if not bucket.suits(given):
                    shapes = ((tuple(p.shape), tuple(g.shape)) for p, g in zip(bucket.params, given, strict=True))
                    of, its = next(pair for pair in shapes if pair[0] != pair[1])
                    raise BadInput(
                        f"a parameter of shape {of} has a gradient of shape {its}; call zero_grad() when a parameter "
                        "takes another shape"
                    )
                yield bucket, given

    def _gathered(
        self, params: list[Tensor], places: list[int], rule: Rule
    ) -> Iterator[tuple[Bucket | Whole, list[int]]]:
        if not rule.elementwise:
            yield from ((Whole(params[k], self.state[params[k]], rule), [k]) for k in places)
            return
        scalars = [called(rule, k) for k, v in rule.init(torch.zeros(2), torch).items() if not v.ndim]
        alike: dict[Any, list[int]] = {}
        for k in places:
            p = params[k]
            entry = self.state[p]
            counts = (float(entry[name]) if name in entry else None for name in ("step", *scalars))
            alike.setdefault((p.device, p.dtype, is_sharded(p), *counts), []).append(k)
        where = {id(p): k for k, p in enumerate(params)}
        for each in alike.values():
            bucket = Bucket([params[k] for k in each], self.state, rule, self._room)
            yield bucket, [where[id(p)] for p in bucket.params]

    def _room(self, length: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        """Room for gradients and parameters side by side. A bucket keeps parts of it, so it never moves."""
        key = (dtype, device)
        if length > FULL:  # one large tensor with gaps has room of its own
            return torch.empty(2, length, dtype=dtype, device=device).unbind()
        if key not in self._rooms:
            self._rooms[key] = torch.empty(2, FULL, dtype=dtype, device=device)
        return self._rooms[key][:, :length].unbind()

    def _admitted(self, given: dict[str, Any]) -> dict[str, Any]:
        """A state dict once it is found to fit, in this optimizer's terms."""
        saved, groups = given["param_groups"], self.param_groups
        counts = [[len(g["params"]) for g in each] for each in (saved, groups)]
        if counts[0] != counts[1]:
            raise BadInput(f"the state dict has groups of {counts[0]} parameters, the optimizer of {counts[1]}")
        merged, state = [], dict(given["state"])
        for new, group in zip(saved, groups, strict=True):
            settings = {k: v for k, v in group.items() if k != "params"}
            # torch writes 0 where a rule has None: there is no such term, and no state for it.
            settings |= {k: v for k, v in new.items() if not (v == 0 and settings.get(k, 0) is None)}
            settings |= {ours: new[theirs] for theirs, ours in _SPELT.items() if theirs in new and ours in settings}
            rule = self._rule(settings)
            _check(rule)
            merged.append(settings)
            for index, p in zip(new["params"], group["params"], strict=True):
                if index in state:
                    state[index] = _fitting(state[index], f"parameter {index}", p, rule)
            if lost := [f"{name}={new[name]}" for name in _TERMS if new.get(name) and name not in group]:
                raise BadInput(f"the state dict is of another rule: it has {', '.join(lost)}, and {rule.name} does not")
        return {**given, "param_groups": merged, "state": state}


_TERMS = ("weight_decay", "momentum", "dampening", "lr_decay")
"""What a rule without it cannot go on from."""
_SPELT = {"alpha": "rho", "momentum_decay": "psi"}
"""What torch calls some hyperparameters, and what rules do."""


def _settings(rule: Rule) -> dict[str, Any]:
    """A rule's hyperparameters as entries of a group, those of the rules inside it among them."""
    found = _hypers(rule)
    if {"b1", "b2"} <= found.keys():
        found["betas"] = found.pop("b1"), found.pop("b2")
    return found


def _hypers(rule: Rule) -> dict[str, Any]:
    inner = _hypers(rule.rule) if isinstance(rule, Wrapper) else {}
    driven = rule.schedules if isinstance(rule, Scheduled) else ()
    return {k: v for k, v in inner.items() if k not in driven} | {k: getattr(rule, k) for k in rule.hypers()}


def _with(rule: Rule, settings: dict[str, Any]) -> Rule:
    """The rule with these settings, unchecked. As with `Rule.replace`, the outermost rule that has a field takes it."""
    if "betas" in settings:
        settings["b1"], settings["b2"] = settings.pop("betas")
    new = copy.copy(rule)
    for name in rule.hypers().keys() & settings.keys():
        object.__setattr__(new, name, number(name, settings.pop(name)))
    if isinstance(rule, Wrapper):
        object.__setattr__(new, "rule", _with(rule.rule, settings))
    return new


def number(name: str, given: Any) -> Any:
    """A setting as a plain number: schedulers and users may put a tensor in a group."""
    if not isinstance(given, Tensor):
        return given
    if given.numel() != 1:
        raise BadInput(f"{name} must be one number, not a tensor of shape {tuple(given.shape)}")
    return given.item()


def _check(rule: Rule) -> None:
    rule.__post_init__()
    if isinstance(rule, Wrapper):
        _check(rule.rule)


def _fold(group: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Take b1 and b2, which may be set one by one, into the pair that holds them."""
    if "betas" in defaults and ("b1" in group or "b2" in group):
        b1, b2 = group.get("betas", defaults["betas"])
        group["betas"] = group.pop("b1", b1), group.pop("b2", b2)


def _fitting(entry: Entry, where: str, param: Tensor, rule: Rule) -> Entry:
    """A parameter's saved state without what torch leaves empty, and with a step, which torch's SGD does not keep."""
    entry = {k: v for k, v in entry.items() if v is not None}
    line = bare(torch.empty(param.shape, dtype=param.dtype, device="meta"))
    wanted = {called(rule, k): shown_as(v, param).shape for k, v in rule.init(line, torch).items()}
    has = sorted(entry.keys() - {"step"})
    if has and has != sorted(wanted):
        raise BadInput(
            f"the state dict is of another rule: {where} has {', '.join(has)}, where {rule.name} keeps "
            f"{', '.join(sorted(wanted)) or 'nothing'}"
        )
    for name in has:
        shape = torch.as_tensor(entry[name]).shape
        if shape != wanted[name]:
            raise BadInput(
                f"the state dict is of other parameters: {where} has {name} of shape {tuple(shape)}, where its own "
                f"shape asks for {tuple(wanted[name])}"
            )
    if has or "step" in entry:
        entry["step"] = torch.tensor(float(entry.get("step", 1)), dtype=torch.float32, device="cpu")
    return entry
