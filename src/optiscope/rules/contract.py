"""What an optimizer is.

An optimizer is a dynamical system: it keeps a state h, reads a gradient g, and emits a step,

    h' = F(h, g)        step = R(h', g).

A `Rule` is one such system, written once as array code over a namespace `xp` (numpy, jax.numpy, torch, keras.ops).
Writing a new one takes a class and a decorator:

    @rule
    class Heavy(Rule):
        lr: float = hyper(0.1, LogUniform(1e-6, 1e1))
        def init(self, param, xp): return {"v": xp.zeros_like(param)}
        def update(self, grad, state, param, t, xp):
            v = 0.9 * state["v"] + grad
            return -self.lr * v, {"v": v}
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform, overload

from ..errors import BadInput, unknown
from ..values import static, value
from .spaces import Space

R = TypeVar("R", bound="Rule")
State = dict[str, Any]


def hyper(default: float | None, space: Space, *, optional: bool = False, tuned: bool = True) -> Any:
    """A hyperparameter: a leaf of the rule, with the search space that tuning draws from.

    None means that the term it belongs to is absent: no computation, no state, no leaf. It is allowed where it is the
    default, or where `optional` says so. With `tuned=False` it is a convention, which tuning leaves as it is unless a
    space for it is asked for.

    Raises:
        BadInput: `space` is none.
    """
    if not isinstance(space, Space):
        raise BadInput(f"a hyperparameter needs a search space, such as LogUniform(1e-6, 1e1), not {space!r}")
    facts = {"space": space, "optional": optional or default is None, "tuned": tuned}
    return dataclasses.field(default=default, metadata=facts)


def variant(default: Any, *others: Any) -> Any:
    """A named choice between algorithms that go by one name; the first is the default."""
    return static(default, choices=(default, *others))


class Rule(ABC):
    """The contract: `init` and `update` act on ONE array, and nothing but the state remembers anything.

    No Python branch may depend on the value of a hyperparameter, for it may be traced; a branch on a variant, or on
    whether a hyperparameter is None, is a branch on the rule's type and is fine.
    """

    name: ClassVar[str]
    """What `osc.rule(name)` and the command line call it."""
    aliases: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """The settings under which this rule is a framework's own optimizer, by framework: torch, optax, keras."""
    slots: ClassVar[Mapping[str, tuple[str | None, str | None, str | None]]] = {}
    """What torch, optax and Keras call each entry of the state."""

    @abstractmethod
    def init(self, param: Any, xp: Any) -> State:
        """The state before the first step: a flat dict of arrays.

        Each has the parameter's shape, that shape with trailing axes, or no axes at all.
        """

    @abstractmethod
    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        """One step. `param + step` is the next iterate.

        Args:
            grad: the gradient at `param`, of its shape.
            state: what `init` or the last `update` returned.
            param: the parameter, which only decay terms read.
            t: the number of this step, 1 at the first: a Python int in NumPy, a scalar array elsewhere (in torch and
                Keras of a floating type, so that β**t keeps its precision).
            xp: the namespace the arrays belong to.

        Returns:
            The step, of the parameter's shape, and the next state, of the same structure as `state`. Where a scalar
            of another dtype has lifted theirs, the front casts them back to what they began with.
        """

    @property
    def elementwise(self) -> bool:
        """Whether entry i of a step depends on entry i of the gradients alone: then a front may flatten and shard."""
        return True

    @classmethod
    def hypers(cls) -> dict[str, Space]:
        """The hyperparameters with their search spaces, in the order of declaration."""
        return {f.name: f.metadata["space"] for f in _fields(cls) if "space" in f.metadata}

    def numbers(self) -> dict[str, Any]:
        """The hyperparameters' values, those of a rule that this one holds included."""
        return {name: getattr(self, name) for name in self.hypers()}

    def spaces(self) -> dict[str, Space]:
        """What tuning searches: the spaces of the hyperparameters that are set and no convention, by name, a held
        rule's included."""
        tuned = (f for f in _fields(type(self)) if f.metadata.get("tuned"))
        return {f.name: f.metadata["space"] for f in tuned if getattr(self, f.name) is not None}

    @classmethod
    def variants(cls) -> dict[str, tuple[Any, ...]]:
        """The variant fields with their choices, the default first."""
        return {f.name: f.metadata["choices"] for f in _fields(cls) if "choices" in f.metadata}

    @classmethod
    def preset(cls, framework: str, **settings: Any) -> Self:
        """The rule as `framework` ("torch", "optax" or "keras") ships it, with `settings` on top.

        Raises:
            BadInput: the framework has no such optimizer, or a setting is unknown or invalid.
        """
        if framework not in cls.presets:
            has = ", ".join(cls.presets) or "none"
            raise BadInput(f"{cls.name} has no preset {framework!r}; it has: {has}")
        return make(cls, **{**cls.presets[framework], **settings})

    def replace(self, **settings: Any) -> Self:
        """The same rule with some fields changed; a field that a wrapper lacks is sought in the rule it holds.

        Raises:
            BadInput: a field is unknown or its value invalid.
        """
        names = [f.name for f in _fields(self)]
        own = {k: v for k, v in settings.items() if k in names}
        rest = {k: v for k, v in settings.items() if k not in names}
        if rest:
            held = getattr(self, "rule", None)
            if held is None:
                raise unknown(f"field of {self.name}", next(iter(rest)), names, f"'optiscope rules {self.name}'")
            own["rule"] = held.replace(**rest)
        return dataclasses.replace(cast(Any, self), **own)

    def __post_init__(self) -> None:
        for field in _fields(self):
            given = getattr(self, field.name)
            if "space" in field.metadata and not (given is None and field.metadata["optional"]):
                number = _number(self.name, field.name, given, field.metadata["space"])
                object.__setattr__(self, field.name, number)
            if "choices" in field.metadata and given not in field.metadata["choices"]:
                choices = ", ".join(map(repr, field.metadata["choices"]))
                raise BadInput(f"{self.name}: {field.name} must be one of {choices}, not {given!r}")


def _fields(rule: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(rule)


def _number(owner: str, name: str, given: Any, space: Space) -> Any:
    """A plain number as a float, refused outside the space's domain; an array or tracer as it is, its value unread.

    A float whatever it came as: JAX differentiates no int, and NumPy's own numbers would outrank a float32 parameter.
    """
    if hasattr(given, "shape") and not isinstance(given, numbers.Number):
        return given
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise BadInput(f"{owner}: {name} must be a number, not {given!r}")
    try:
        number = float(given)
    except OverflowError:  # an int beyond every float
        number = math.inf
    wanted = space.refusal(number)
    if wanted is not None:
        raise BadInput(f"{owner}: {name} must be {wanted}, not {given!r}")
    return number


_registry: dict[str, type[Rule]] = {}


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def rule(what: type[R], /) -> type[R]: ...
@overload
def rule(what: str, /, **settings: Any) -> Rule: ...
def rule(what: type[R] | str, /, **settings: Any) -> type[R] | Rule:
    """Declare a rule, as a decorator on its class; or make one by its name, `rule("adam", lr=1e-3)`.

    A class whose fields all have defaults is listed under its name: the command line, tuning and the common tests then
    pick it up by themselves. A wrapper, which needs the rule it wraps, is not.

    Raises:
        BadInput: no rule has the name (the message proposes the nearest), a field is unknown, or its value invalid;
            what is declared is no subclass of `Rule`, lacks a method, has a default that is invalid or a name that is
            taken.
    """
    if isinstance(what, str):
        if what.lower() not in _registry:
            raise unknown("rule", what, _registry, "'optiscope rules'")
        return make(_registry[what.lower()], **settings)
    if not (isinstance(what, type) and issubclass(what, Rule)):
        raise BadInput(f"a rule is a name, such as 'adam', or a class that inherits from osc.Rule, not {what!r}")
    what.name = vars(what).get("name", what.__name__).lower()  # as it is sought
    if what.__abstractmethods__:
        raise BadInput(f"the rule {what.name!r} lacks {', '.join(sorted(what.__abstractmethods__))}; see osc.Rule")
    cls = value(what)
    if all(f.default is not dataclasses.MISSING for f in _fields(cls)):
        _list(cls)
    return cls


def _list(cls: type[Rule]) -> None:
    aliases = vars(cls).get("aliases", ())  # an alias is not inherited: it names one class
    if isinstance(aliases, str):
        raise BadInput(f"the rule {cls.name!r} has aliases={aliases!r}; write a tuple of names, ({aliases!r},)")
    called = (cls.name, *map(str.lower, aliases))
    for name in called:
        # The same class declared again, as when a notebook cell runs twice, takes its own place.
        if name in _registry and path_of(_registry[name]) != path_of(cls):
            raise BadInput(
                f"the rule name {name!r} is taken by {path_of(_registry[name])}; give {path_of(cls)} another"
            )
    cls()  # refuses a default that is invalid, before the rule is listed and tried by everybody
    _registry.update(dict.fromkeys(called, cls))


def path_of(cls: type) -> str:
    """Where a class was declared."""
    return f"{cls.__module__}.{cls.__qualname__}"


def make(cls: type[R], **settings: Any) -> R:
    """Construct a rule, refusing unknown fields in a sentence."""
    names = [f.name for f in _fields(cls)]
    for name in settings:
        if name not in names:
            raise unknown(f"field of {cls.name}", name, names, f"'optiscope rules {cls.name}'")
    return cls(**settings)


def parse(text: str) -> tuple[Rule, dict[str, Any]]:
    """Read a rule written as "adam" or "adam:lr=0.01,eps_on=raw v": the rule, and the fields that the text sets.

    Raises:
        BadInput: as `rule`, or the text is not of this form.
    """
    name, _, rest = text.partition(":")
    if name.lower() not in _registry:
        raise unknown("rule", name, _registry, "'optiscope rules'")
    cls = _registry[name.lower()]
    fields: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        field, equals, given = (part.strip() for part in item.partition("="))
        if not equals:
            raise BadInput(f"a rule is written name:field=value,field=value; {text!r} has {item!r}")
        if field in fields:
            raise BadInput(f"{text!r} sets {field} twice")
        fields[field] = _read(given, cls.variants().get(field))
    return make(cls, **fields), fields


def _read(text: str, choices: tuple[Any, ...] | None) -> Any:
    if choices is not None:
        return next((c for c in choices if str(c).lower() == text.lower()), text)
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        return text


def names() -> list[str]:
    """The names of all rules."""
    return sorted(name for name, cls in _registry.items() if name == cls.name)
