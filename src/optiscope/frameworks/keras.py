"""The Keras front: a rule as a real `keras.optimizers.Optimizer`, on Keras's JAX, PyTorch and TensorFlow backends.

    model.compile(optimizer=Optimizer(osc.Adam(lr=1e-3)), loss="mse")

Clipping, weight decay, moving averages, loss scaling, gradient accumulation and schedules of the rate are Keras's own.
The ready-made classes have Keras's names, signatures and defaults, for a change of one import; Keras reads a string as
its own optimizer, so `get("adam")` stands for ours.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import keras  # type: ignore[import-untyped]  # it has no types
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

    later: ClassVar[tuple[str, ...]] = ()
    """What of the state stands, variable by variable, after all the rest, for the order of Keras's own weights."""

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
        self._states: list[dict[str, Any]] = [{} for _ in variables]
        for late in (None, *self.later):
            for variable, state in zip(variables, self._states, strict=True):
                if not self._overwrite_variable_with_gradient(variable):
                    self._begin(variable, state, late)

    def _begin(self, variable: Any, state: dict[str, Any], late: str | None) -> None:
        """Make the state named `late`, or if None all that is not."""

        def init() -> dict[str, Any]:
            rule = _placed(self.rule, keras.backend.standardize_dtype(variable.dtype))
            return rule.init(ops.convert_to_tensor(variable), _XP)

        def start(key: str) -> Any:
            # Called where Keras initialises variables: outside the graph, if there is one.
            return lambda shape, dtype: ops.cast(init()[key], dtype)

        for key, x in init().items():
            if key == late or (late is None and key not in self.later):
                state[key] = self._add(variable, _theirs(self.rule, key), x.shape, start(key))

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
            _dense(gradient, dtype),
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


def _dense(gradient: Any, dtype: str) -> Any:
    """The gradient with an entry for every entry of its variable: that of an embedding may hold the rows it met."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # type: ignore[import-untyped]

        # Keras takes these for tensors and leaves them as they are; they have no arithmetic.
        gradient = tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
    return ops.convert_to_tensor(gradient, dtype, sparse=False)


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
    if isinstance(rule, Scheduled):
        changed["schedules"] = {field: each for field, each in rule.schedules.items() if field != "weight_decay"}
    return dataclasses.replace(rule, **changed)  # type: ignore[type-var]  # every rule is a dataclass


def _theirs(rule: Rule, key: str) -> str:
    """Keras's name for an entry of the rule's state, where it has one."""
    return _theirs(rule.rule, key) if isinstance(rule, Wrapper) else rule.slots.get(key, (None, None, None))[2] or key


def _inline(array: np.ndarray, path: str) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "values": array.tolist()}


def _outline(held: dict[str, Any]) -> np.ndarray:
    return np.asarray(held["values"], held["dtype"])


_PROBE = np.zeros(2)
"""A parameter to see of what kind a rule's state is."""


class ReadyMade(Optimizer):
    """One of Keras's optimizers, by its arguments. Those that are its own are attributes, which may be written as long
    as the state stays of its kind."""

    original: ClassVar[Any]
    rule_of: ClassVar[Callable[..., Rule]]
    """The rule, by the arguments that are the optimizer's own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = inspect.signature(cls.original)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        Args:
            args, kwargs: what the original takes; and `decay`, as in `Optimizer`.

        Raises:
            BadInput: as in `Optimizer`.
        """
        decay = kwargs.pop("decay", None)
        given = inspect.signature(self.original).bind(*args, **kwargs)
        given.apply_defaults()
        options = {k: v for k, v in given.arguments.items() if k != "kwargs"} | given.arguments.get("kwargs", {})
        own = {name: options.pop(name) for name in inspect.signature(self.rule_of).parameters}
        learning_rate = options.pop("learning_rate")
        super().__init__(self.rule_of(**own), learning_rate, decay, **options)
        self._own = tuple(own)
        for name, value in own.items():
            super().__setattr__(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in getattr(self, "_own", ()):
            rule = self.rule_of(**self._settings() | {name: value})
            if type(rule) is not type(self.rule) or rule.init(_PROBE, np).keys() != self.rule.init(_PROBE, np).keys():
                raise BadInput(f"{name}={value!r} needs another state; make a new {type(self).__name__} with it")
            self.rule = rule
        super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["rule"]
        return config | self._settings()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._own}


@_serializable
class SGD(ReadyMade):
    """`keras.optimizers.SGD`."""

    original = keras.optimizers.SGD

    @staticmethod
    def rule_of(momentum: float, nesterov: bool) -> Rule:
        kind = rules.Nesterov if nesterov else rules.Momentum
        return kind.preset("keras", momentum=momentum) if momentum else rules.GradientDescent.preset("keras")


@_serializable
class Adagrad(ReadyMade):
    """`keras.optimizers.Adagrad`."""

    original = keras.optimizers.Adagrad

    @staticmethod
    def rule_of(initial_accumulator_value: float, epsilon: float) -> Rule:
        return rules.AdaGrad.preset("keras", initial=initial_accumulator_value, eps=epsilon)


@_serializable
class Adadelta(ReadyMade):
    """`keras.optimizers.Adadelta`."""

    original = keras.optimizers.Adadelta

    @staticmethod
    def rule_of(rho: float, epsilon: float) -> Rule:
        return rules.AdaDelta.preset("keras", rho=rho, eps=epsilon)


@_serializable
class RMSprop(ReadyMade):
    """`keras.optimizers.RMSprop`."""

    original = keras.optimizers.RMSprop
    later = ("b", "m")

    @staticmethod
    def rule_of(rho: float, momentum: float, epsilon: float, centered: bool) -> Rule:
        return rules.RMSProp.preset("keras", rho=rho, momentum=momentum or None, eps=epsilon, centered=centered)


@_serializable
class Adam(ReadyMade):
    """`keras.optimizers.Adam`."""

    original = keras.optimizers.Adam
    later = ("v_max",)

    @staticmethod
    def rule_of(beta_1: float, beta_2: float, epsilon: float, amsgrad: bool) -> Rule:
        return (rules.AMSGrad if amsgrad else rules.Adam).preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)


@_serializable
class AdamW(Adam):
    """`keras.optimizers.AdamW`: Adam, with the weight decay that every Keras optimizer can have."""

    original = keras.optimizers.AdamW

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.weight_decay is None:
            raise BadInput("AdamW needs a weight_decay; without one it is Adam")


@_serializable
class Adamax(ReadyMade):
    """`keras.optimizers.Adamax`."""

    original = keras.optimizers.Adamax

    @staticmethod
    def rule_of(beta_1: float, beta_2: float, epsilon: float) -> Rule:
        return rules.AdaMax.preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)


@_serializable
class Nadam(ReadyMade):
    """`keras.optimizers.Nadam`, but for the saved weights: Keras leaves out a part of the state."""

    original = keras.optimizers.Nadam

    @staticmethod
    def rule_of(beta_1: float, beta_2: float, epsilon: float) -> Rule:
        return rules.Nadam.preset("keras", b1=beta_1, b2=beta_2, eps=epsilon)


@_serializable
class Lion(ReadyMade):
    """`keras.optimizers.Lion`."""

    original = keras.optimizers.Lion

    @staticmethod
    def rule_of(beta_1: float, beta_2: float) -> Rule:
        return rules.Lion.preset("keras", b1=beta_1, b2=beta_2)


_READY_MADE = {cls.__name__.lower(): cls for cls in (SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW, Adamax, Nadam, Lion)}
