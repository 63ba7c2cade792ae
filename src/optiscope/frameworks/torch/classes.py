"""torch's own optimizers by their own names: change `from torch.optim import Adam`, and nothing else.

Signatures and defaults are those of the installed torch, and so are the groups' entries and the names in the state, so
that a checkpoint of either goes on in the other. `foreach` and `fused` choose between ways to compute the same, and
make no difference here.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar

import torch

from ... import rules
from ...errors import BadInput
from ...rules import Rule
from .optimizer import Optimizer, number

_COMPILED = inspect.Parameter("compiled", inspect.Parameter.KEYWORD_ONLY, default="auto")


class _Classic(Optimizer):
    """One of torch's optimizers. What a group's entries mean is what `_rule` makes of them."""

    original: ClassVar[Any]
    fixed: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        signature = inspect.signature(cls.original)
        cls.__signature__ = signature.replace(parameters=[*signature.parameters.values(), _COMPILED])  # type: ignore[attr-defined]

    def __init__(self, params: Any, *args: Any, compiled: bool | str = "auto", **settings: Any) -> None:
        """
        Args:
            params, args, settings: what the original takes.
            compiled: as in `Optimizer`.

        Raises:
            BadInput: as in `Optimizer`; or capturable or differentiable is asked for.
        """
        given = inspect.signature(self.original).bind(params, *args, **settings)
        given.apply_defaults()
        defaults = {**given.arguments, **self.fixed}
        for flag in ("capturable", "differentiable"):
            if defaults.get(flag):
                raise BadInput(f"{flag}=True is not supported; torch.optim.{self.original.__name__} has it")
        self._begin(defaults.pop("params"), defaults, compiled)


def _torchs(cls: type[Rule], **settings: Any) -> Any:
    """A rule in torch's preset with these settings, unchecked, as `Optimizer._rule` is to be."""
    made = object.__new__(cls)
    settings = {**cls.presets.get("torch", {}), **settings}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # every rule is a dataclass
        object.__setattr__(made, field.name, number(field.name, settings.get(field.name, field.default)))
    return made


def _decayed(rule: Rule, group: dict[str, Any]) -> Rule:
    """The rule with the group's weight decay, on the gradient or decoupled from it."""
    if group["weight_decay"] == 0:
        return rule
    kind = rules.WeightDecay if group.get("decoupled_weight_decay") else rules.L2
    return _torchs(kind, rule=rule, weight_decay=group["weight_decay"])


class SGD(_Classic):
    """`torch.optim.SGD`: gradient descent, momentum or Nesterov's, with L2 regularisation."""

    original = torch.optim.SGD

    def _rule(self, group: dict[str, Any]) -> Rule:
        lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"] or None
        if group["nesterov"] and (momentum <= 0 or dampening):
            raise BadInput(f"nesterov=True needs momentum > 0 and dampening 0, not {momentum} and {dampening or 0}")
        if group["nesterov"]:
            rule = _torchs(rules.Nesterov, lr=lr, momentum=momentum)
        elif momentum:
            rule = _torchs(rules.Momentum, lr=lr, momentum=momentum, dampening=dampening)
        else:
            rule = _torchs(rules.GradientDescent, lr=lr)
        return _decayed(rule, group)


class Adagrad(_Classic):
    """`torch.optim.Adagrad`: AdaGrad whose lr falls as 1 / (1 + lr_decay · k) after k steps, with L2 regularisation."""

    original = torch.optim.Adagrad

    def _rule(self, group: dict[str, Any]) -> Rule:
        lr, slowing = number("lr", group["lr"]), group["lr_decay"]
        if slowing < 0:
            raise BadInput(f"lr_decay must be ≥ 0, not {slowing}")
        rule = _torchs(rules.AdaGrad, lr=lr, eps=group["eps"], initial=group["initial_accumulator_value"])
        rule = _decayed(rule, group)
        return rules.Scheduled(rule, lr=rules.InverseTime(lr, 1 / slowing)) if slowing else rule


class Adadelta(_Classic):
    """`torch.optim.Adadelta`: AdaDelta with L2 regularisation."""

    original = torch.optim.Adadelta

    def _rule(self, group: dict[str, Any]) -> Rule:
        return _decayed(_torchs(rules.AdaDelta, lr=group["lr"], rho=group["rho"], eps=group["eps"]), group)


class RMSprop(_Classic):
    """`torch.optim.RMSprop`: RMSProp, centred and with momentum if asked for, with L2 regularisation."""

    original = torch.optim.RMSprop

    def _rule(self, group: dict[str, Any]) -> Rule:
        rule = _torchs(
            rules.RMSProp,
            lr=group["lr"],
            rho=group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"] or None,
            centered=bool(group["centered"]),
        )
        return _decayed(rule, group)


class Adam(_Classic):
    """`torch.optim.Adam`: Adam or AMSGrad, with L2 regularisation or decoupled weight decay."""

    original: ClassVar[Any] = torch.optim.Adam

    def _rule(self, group: dict[str, Any]) -> Rule:
        kind = rules.AMSGrad if group["amsgrad"] else rules.Adam
        b1, b2 = group["betas"]
        return _decayed(_torchs(kind, lr=group["lr"], b1=b1, b2=b2, eps=group["eps"]), group)


class AdamW(Adam):
    """`torch.optim.AdamW`: Adam or AMSGrad with decoupled weight decay."""

    original = torch.optim.AdamW
    fixed = {"decoupled_weight_decay": True}


class Adamax(_Classic):
    """`torch.optim.Adamax`: AdaMax with L2 regularisation."""

    original = torch.optim.Adamax

    def _rule(self, group: dict[str, Any]) -> Rule:
        b1, b2 = group["betas"]
        return _decayed(_torchs(rules.AdaMax, lr=group["lr"], b1=b1, b2=b2, eps=group["eps"]), group)


class NAdam(_Classic):
    """`torch.optim.NAdam`: Nadam, with L2 regularisation or decoupled weight decay."""

    original = torch.optim.NAdam

    def _rule(self, group: dict[str, Any]) -> Rule:
        b1, b2 = group["betas"]
        rule = _torchs(rules.Nadam, lr=group["lr"], b1=b1, b2=b2, eps=group["eps"], psi=group["momentum_decay"])
        return _decayed(rule, group)
