"""The Keras front: a rule as a real `keras.optimizers.Optimizer`, on Keras's JAX, PyTorch and TensorFlow backends.

    model.compile(optimizer=Optimizer(osc.Adam(lr=1e-3)), loss="mse")

Clipping, weight decay, moving averages, loss scaling, gradient accumulation and schedules of the rate are Keras's own.
The ready-made classes have Keras's names, signatures and defaults, for a change of one import; Keras reads a string as
its own optimizer, so `get("adam")` stands for ours.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from keras import ops

from .. import rules
from ..errors import BadInput, unknown
from ..rules import Rule, Schedule, Scheduled, Wrapper
from ..rules.plain import made, told

LearningRate = Any
"""A float, a `LearningRateSchedule`, or a function of no arguments."""

# On these two keras.ops takes maxima and cosines of float64 in float32, and adds its own cost to every operation.
_XP = importlib.import_module({"jax": "jax.numpy", "torch": "torch"}.get(keras.backend.backend(), "keras.ops"))

_serializable = keras.saving.register_keras_serializable("optiscope")


@_serializable
class Optimizer(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras is untyped
    """A rule as a Keras optimizer.

    The rule's `lr` becomes Keras's learning rate: a variable that callbacks write, or a schedule. A rule without an lr,
    or with one in a schedule of its own, has none that Keras could set.

    Args:
        rule: any rule.
        learning_rate: a float, a `LearningRateSchedule` or a function of no arguments; by default the rule's lr.
        decay: the legacy argument: the learning rate is divided by 1 + decay · (steps taken).
        options: what every Keras optimizer takes, such as `weight_decay`, `clipnorm`, `use_ema`, `name`.
            `exclude_from_weight_decay` goes for the weight decay of the rule itself too.

    Raises:
        BadInput: `rule` is none; a learning rate, its decay or a weight decay is given for a rule without an lr to set;
            or a decay for a learning rate that is a schedule already.
    """

    def __init__(
        self, rule: Rule, learning_rate: LearningRate | None = None, decay: float | None = None, **options: Any
    ) -> None:
        if not isinstance(rule, Rule):
            raise BadInput(f"Optimizer takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")
        lr = _lr(rule)
        for name, given in {"learning_rate": learning_rate, "decay": decay, **options}.items():
            if lr is None and given is not None and name in ("learning_rate", "decay", "weight_decay"):
                raise BadInput(f"{rule.name} has no lr for Keras to set, so that it takes no {name}, not {given!r}")
        learning_rate = lr if learning_rate is None else learning_rate
        super().__init__(_decaying(learning_rate, decay) if lr is not None else 1.0, **options)
        self.rule = rule

    def build(self, variables: list[Any]) -> None:
        """Make the rule's state for each of `variables`."""
        if self.built:
            return
        super().build(variables)
        self._states = [self._begin(variable) for variable in variables]

    def _begin(self, variable: Any) -> dict[str, Any]:
        if self._overwrite_variable_with_gradient(variable):
            return {}

        def start(key: str) -> Any:
            # Called where Keras initialises variables: outside the graph, if there is one.
            return lambda shape, dtype: ops.cast(self.rule.init(ops.convert_to_tensor(variable), _XP)[key], dtype)

        begun = self.rule.init(ops.convert_to_tensor(variable), _XP)
        return {key: self._add(variable, _theirs(self.rule, key), x.shape, start(key)) for key, x in begun.items()}

    def _add(self, variable: Any, name: str, shape: Any, initializer: Any) -> Any:
        if tuple(shape) == tuple(variable.shape):  # keeps the variable's layout over devices
            return self.add_variable_from_reference(variable, name=name, initializer=initializer)
        name = f"{getattr(variable, 'path', variable.name).replace('/', '_')}_{name}"
        return self.add_variable(tuple(shape), initializer=initializer, dtype=variable.dtype, name=name)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of the rule for one variable, computed in float32 where the variable is narrower."""
        dtype = keras.backend.standardize_dtype(variable.dtype)
        dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
        rule = self.rule if self._use_weight_decay(variable) else _undecayed(self.rule)
        if _lr(self.rule) is not None:
            rule = rule.replace(lr=ops.cast(learning_rate, dtype))
        slots = self._states[self._get_variable_index(variable)]
        step, state = _placed(rule, dtype).update(
            ops.convert_to_tensor(gradient, dtype),
            {key: ops.convert_to_tensor(slot, dtype) for key, slot in slots.items()},
            ops.convert_to_tensor(variable, dtype),
            ops.cast(self.iterations + 1, dtype),
            _XP,
        )
        for key, slot in slots.items():
            self.assign(slot, ops.cast(state[key], slot.dtype))
        self.assign_add(variable, ops.cast(step, variable.dtype))

    @property
    def learning_rate(self) -> Any:
        """Keras's learning rate; 1 for a rule that has no lr to set."""
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if _lr(self.rule) is None:
            raise BadInput(f"{self.rule.name} has no lr for Keras to set to {value!r}")
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same optimizer of, without its state."""
        config = {**super().get_config(), "rule": told(self.rule, _inline)}
        if _lr(self.rule) is None:
            del config["learning_rate"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The optimizer of a config."""
        if "rule" in config:
            config = {**config, "rule": made(config["rule"], _outline)}
        return super().from_config(config, custom_objects)


def get(identifier: Any) -> Any:
    """An optimizer by its name ("adam", "momentum", ...), its config or its rule; an optimizer is returned as it is.

    Raises:
        BadInput: nothing has the name.
    """
    if isinstance(identifier, Rule):
        return Optimizer(identifier)
    if not isinstance(identifier, str):
        return keras.optimizers.get(identifier)
    if identifier.lower() in _READY_MADE:
        return _READY_MADE[identifier.lower()]()
    if identifier.lower() in rules.names():
        return Optimizer(rules.rule(identifier))
    raise unknown("optimizer", identifier, [*_READY_MADE, *rules.names()], "'optiscope rules'")


def _lr(rule: Rule) -> float | None:
    """The lr that Keras may set, or None."""
    if isinstance(rule, Scheduled) and "lr" in rule.schedules:
        return None
    if "lr" in rule.hypers():
        return float(vars(rule)["lr"])
    return _lr(rule.rule) if isinstance(rule, Wrapper) else None


def _placed(value: Any, dtype: str) -> Any:
    """The rule with its arrays, such as a learned rule's weights, as the backend's own."""
    if isinstance(value, Rule | Schedule):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]  # both are dataclasses
        placed = {f.name: _placed(getattr(value, f.name), dtype) for f in fields}
        return dataclasses.replace(value, **placed)  # type: ignore[type-var]
    if isinstance(value, dict):
        return {key: _placed(each, dtype) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_placed(each, dtype) for each in value)
    return ops.convert_to_tensor(value, dtype) if hasattr(value, "shape") else value


def _decaying(learning_rate: LearningRate, decay: float | None) -> LearningRate:
    if not decay:
        return learning_rate
    if not isinstance(learning_rate, float):
        raise BadInput(f"decay={decay} divides a learning rate that is a number, not {learning_rate!r}")
    return keras.optimizers.schedules.InverseTimeDecay(learning_rate, decay_steps=1, decay_rate=decay)


def _undecayed(rule: Rule) -> Rule:
    changed: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in rule.hypers() else {}
    if isinstance(rule, Wrapper):
        changed["rule"] = _undecayed(rule.rule)
    return dataclasses.replace(rule, **changed)  # type: ignore[type-var]  # every rule is a dataclass


def _theirs(rule: Rule, key: str) -> str:
    """Keras's name for an entry of the rule's state, where it has one."""
    return _theirs(rule.rule, key) if isinstance(rule, Wrapper) else rule.slots.get(key, (None, None, None))[2] or key


def _inline(array: np.ndarray, path: str) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "values": array.tolist()}


def _outline(held: dict[str, Any]) -> np.ndarray:
    return np.asarray(held["values"], held["dtype"])


class ReadyMade(Optimizer):
    """An optimizer of Keras's by Keras's own arguments, `own`; `options` are those that every one has."""

    def __init__(self, rule: Rule, own: dict[str, Any], learning_rate: LearningRate, options: dict[str, Any]) -> None:
        super().__init__(rule, learning_rate, **options)
        self._own = tuple(own)
        for name, given in own.items():
            setattr(self, name, given)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["rule"]
        return {**config, **{name: getattr(self, name) for name in self._own}}


@_serializable
class SGD(ReadyMade):
    """`keras.optimizers.SGD`."""

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        kind = rules.Nesterov if nesterov else rules.Momentum
        rule = kind.preset("keras", momentum=momentum) if momentum else rules.GradientDescent.preset("keras")
        super().__init__(rule, {"momentum": momentum, "nesterov": nesterov}, learning_rate, options)


@_serializable
class Adagrad(ReadyMade):
    """`keras.optimizers.Adagrad`."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        rule = rules.AdaGrad.preset("keras", initial=initial_accumulator_value, eps=epsilon)
        own = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        super().__init__(rule, own, learning_rate, options)


@_serializable
class Adadelta(ReadyMade):
    """`keras.optimizers.Adadelta`."""

    def __init__(
        self, learning_rate: LearningRate = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **options: Any
    ) -> None:
        rule = rules.AdaDelta.preset("keras", rho=rho, eps=epsilon)
        super().__init__(rule, {"rho": rho, "epsilon": epsilon}, learning_rate, options)


@_serializable
class RMSprop(ReadyMade):
    """`keras.optimizers.RMSprop`."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        rule = rules.RMSProp.preset("keras", rho=rho, momentum=momentum or None, eps=epsilon, centered=centered)
        own = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        super().__init__(rule, own, learning_rate, options)


@_serializable
class Adam(ReadyMade):
    """`keras.optimizers.Adam`."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        rule = (rules.AMSGrad if amsgrad else rules.Adam).preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)
        own = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad}
        super().__init__(rule, own, learning_rate, options)


@_serializable
class AdamW(Adam):
    """`keras.optimizers.AdamW`: Adam, with the weight decay that every Keras optimizer can have."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise BadInput("AdamW needs a weight_decay; without one it is Adam")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)


@_serializable
class Adamax(ReadyMade):
    """`keras.optimizers.Adamax`."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        rule = rules.AdaMax.preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)
        super().__init__(rule, {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}, learning_rate, options)


@_serializable
class Nadam(ReadyMade):
    """`keras.optimizers.Nadam`."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        rule = rules.Nadam.preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)
        super().__init__(rule, {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}, learning_rate, options)


@_serializable
class Lion(ReadyMade):
    """`keras.optimizers.Lion`."""

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any
    ) -> None:
        rule = rules.Lion.preset("keras", b1=beta_1, b2=beta_2)
        super().__init__(rule, {"beta_1": beta_1, "beta_2": beta_2}, learning_rate, options)


_READY_MADE = {cls.__name__.lower(): cls for cls in (SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW, Adamax, Nadam, Lion)}
