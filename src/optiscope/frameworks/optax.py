"""The optax front: a rule as a real optax transformation, and an optax transformation as a rule.

    tx = transform(osc.Adam(), lr=optax.cosine_decay_schedule(1e-3, 1000))
    state = tx.init(params)
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)

Masking, accumulation, clipping by global norm and sharding are optax's own. The ready-made functions have optax's
names, signatures and defaults, for a change of one word.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]

from ..errors import BadInput
from ..rules import (
    L2,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    GradientDescent,
    Lion,
    Momentum,
    Nadam,
    NAdamW,
    Nesterov,
    RAdam,
    RMSProp,
    Rule,
    Schedule,
    SignDescent,
    State,
    WeightDecay,
    Wrapper,
)
from ..rules.adaptive import INSIDE, OUTSIDE
from ..rules.wrappers import driven
from ..values import value

Transformation: TypeAlias = optax.GradientTransformationExtraArgs
Setting: TypeAlias = Any
"""A number, an array, or a schedule: an optax schedule, which takes the number of steps taken, or one of the rules'."""


class RuleState(NamedTuple):
    """What a rule remembers of a whole model."""

    count: Any
    """The number of steps taken: an int32 scalar, or one per lane under `vmap`."""
    slots: dict[str, Any]
    """Each entry of the rule's state, under optax's name for it, as a tree of the parameters' structure."""


def transform(rule: Rule, *, dtypes: Mapping[str, Any] | None = None, **settings: Setting) -> Transformation:
    """`rule` as an optax transformation.

    A complex parameter is treated as its real and imaginary parts, each a coordinate of its own, as torch does and as
    `optax.contrib.split_real_and_imaginary` does. JAX's complex gradients are to be conjugated first, as optax asks.

    Args:
        rule: any rule.
        dtypes: for entries of the rule's state, by its own names, dtypes of their own: {"m": jnp.bfloat16}.
        settings: hyperparameters of the rule (or of one that it holds): numbers, or schedules to be read at every step.

    Returns:
        A transformation whose updates, to be added to the parameters, have the gradients' shapes and dtypes. Where a
        gradient is None its update is None and the state stays. `update` needs the parameters for decaying rules only.

    Raises:
        BadInput: `rule` is none; a setting is unknown, invalid or follows a schedule of the rule's; in `update`, the
            parameters are missing and needed.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"transform takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")
    if hidden := settings.keys() & driven(rule):
        field = min(hidden)
        raise BadInput(f"{field} follows a schedule of {rule.name}'s own, so that it takes no {settings[field]!r}")
    schedules = {f: _schedule(given) for f, given in settings.items() if callable(given)}
    # Reading the schedules once refuses an unknown field here, and not at the first step.
    rule = rule.replace(**{f: schedules[f](0) if f in schedules else given for f, given in settings.items()})
    # Between a number and a matrix, the states have every entry.
    probes = [jax.eval_shape(lambda shape=shape: rule.init(jnp.zeros(shape), jnp)) for shape in ((), (1, 1))]
    called = {key: _theirs(rule, key) for key in {**probes[0], **probes[1]}}
    cast = dict(dtypes or {})
    if strange := cast.keys() - called.keys():
        raise BadInput(f"dtypes names {min(strange)!r}; the state of {rule.name} has {_listed(called)}")

    def init(params: Any) -> RuleState:
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        states = [_begin(rule, p) for p in leaves]
        # By key and not by leaf: optax asks with a placeholder that has no leaves what in a state is shaped as params.
        columns = {key: [_cast(state.get(key), cast.get(key)) for state in states] for key in called}
        return RuleState(jnp.zeros((), jnp.int32), {called[key]: tree.unflatten(x) for key, x in columns.items()})

    def update(updates: Any, state: RuleState, params: Any = None, **extra: Any) -> tuple[Any, RuleState]:
        if not isinstance(state, RuleState) or state.slots.keys() != {*called.values()}:
            had = _listed(state.slots) if isinstance(state, RuleState) else f"the form {type(state).__name__}"
            raise BadInput(f"a state of {rule.name} has {_listed(called.values())}, and this one {had}; init makes it")
        now = rule.replace(**{f: schedule(state.count) for f, schedule in schedules.items()})
        t = optax.safe_increment(state.count)
        tree: Any
        grads, tree = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
        held = [_NotGiven(rule)] * len(grads) if params is None else tree.flatten_up_to(params)
        slots = {key: tree.flatten_up_to(state.slots[name]) for key, name in called.items()}
        steps: list[Any] = [None] * len(grads)
        for i, (grad, param) in enumerate(zip(grads, held, strict=True)):
            if grad is None:
                continue
            old = {key: slot[i] for key, slot in slots.items() if slot[i] is not None}
            grad = jnp.asarray(grad)  # optax takes Python's numbers too
            step, new = _advance(now, grad, old, param, t)
            steps[i] = step.astype(grad.dtype)
            for key in old:
                slots[key][i] = new[key].astype(old[key].dtype)
        return tree.unflatten(steps), RuleState(t, {called[key]: tree.unflatten(x) for key, x in slots.items()})

    return Transformation(init, update)


def _schedule(given: Any) -> Callable[[Any], Any]:
    return partial(given, xp=jnp) if isinstance(given, Schedule) else given


def _theirs(rule: Rule, key: str) -> str:
    """optax's name for an entry of the rule's state, where it has one."""
    return _theirs(rule.rule, key) if isinstance(rule, Wrapper) else rule.slots.get(key, (None, None, None))[1] or key


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _begin(rule: Rule, param: Any) -> State:
    if not jnp.iscomplexobj(param):
        return rule.init(param, jnp)
    state = rule.init(_split(param, param.ndim), jnp)
    # A number beside the arrays stays as it is.
    return {key: _join(x, param.ndim) if x.ndim > param.ndim else x for key, x in state.items()}


def _advance(rule: Rule, grad: Any, state: State, param: Any, t: Any) -> tuple[Any, State]:
    if not jnp.iscomplexobj(grad):
        return rule.update(grad, state, param, t, jnp)
    axis = grad.ndim
    parts = {key: _split(x, axis) if jnp.iscomplexobj(x) else x for key, x in state.items()}
    place = param if isinstance(param, _NotGiven) else _split(param, axis)
    step, new = rule.update(_split(grad, axis), parts, place, t, jnp)
    return _join(step, axis), {key: _join(x, axis) if jnp.iscomplexobj(state[key]) else x for key, x in new.items()}


def _split(x: Any, axis: int) -> Any:
    return jnp.stack([x.real, x.imag], axis)


def _join(x: Any, axis: int) -> Any:
    return jax.lax.complex(*(jnp.take(x, i, axis) for i in (0, 1)))


def _cast(x: Any, dtype: Any) -> Any:
    return x if x is None or dtype is None else x.astype(dtype)


class _NotGiven:
    """Stands where parameters were not given: most rules never look, and one that does says so."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def _refuse(self, *_: Any) -> Any:
        raise BadInput(f"{self._rule.name} reads the parameters: call update(grads, state, params)")

    __getattr__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _refuse
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __abs__ = __getitem__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse


def factory(rule: Rule) -> Callable[..., Transformation]:
    """A function of the rule's hyperparameters that returns its transformation, as `inject_hyperparams` wants one.

    `optax.inject_hyperparams(factory(osc.Adam()))(lr=0.1)` keeps every number of the rule in the state, to be read and
    written there. The parameters are the rule's own and those of the rules inside it, keyword-only, and their defaults
    its values; what follows a schedule of the rule's is none.
    """
    if not isinstance(rule, Rule):
        raise BadInput(f"factory takes a rule, such as osc.Adam(lr=1e-3), not {rule!r}")

    def make(**hypers: Any) -> Transformation:
        return transform(rule, **hypers)

    free = {field: number for field, number in rule.numbers().items() if field not in driven(rule)}
    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(f, inspect.Parameter.KEYWORD_ONLY, default=x) for f, x in free.items()]
    )
    return make


class Foreign(Rule):
    """An optax transformation as a rule: `from_optax` makes them."""

    tx: optax.GradientTransformation

    def init(self, param: Any, xp: Any) -> State:
        return _flat(self.tx.init(param))

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        like = self.tx.init(param)
        tree: Any = jax.tree.structure(like)
        # By name: a loop of JAX's hands a dict back sorted.
        leaves = [_typed(state[_name(path)], leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(like)]
        step, new = self.tx.update(grad, tree.unflatten(leaves), param)
        return step, _flat(new)


def _flat(tree: Any) -> State:
    # A typed random key is no array that a record could hold; the numbers in it are. Nor is a number of Python's one.
    return {
        _name(path): jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _typed(x: Any, like: Any) -> Any:
    return jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if _is_key(like) else x


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def from_optax(tx: optax.GradientTransformation, name: str = "optax", *, elementwise: bool = False) -> Rule:
    """Any optax transformation as a rule, for the lab and the analysis.

    Its state is the transformation's, flat: the entries are named by their paths, such as "0.mu". The rule has no
    leaves: its numbers are inside the transformation, out of reach of tuning. Each array of a model is led by a
    transformation of its own, so that one that looks across them, as clipping by global norm does, sees one array.

    Args:
        tx: the transformation. It must need nothing but gradients and parameters.
        name: what the comparison's table calls it.
        elementwise: whether entry i of a step depends on entry i of the gradients alone.

    Raises:
        BadInput: `tx` is no transformation, or needs more than a gradient a step, such as the loss or the function.
    """
    if not isinstance(tx, optax.GradientTransformation):
        raise BadInput(f"from_optax takes an optax transformation, such as optax.adam(1e-3), not {tx!r}")
    cls: type[Any] = type(name, (Foreign,), {"tx": tx, "name": name, "elementwise": elementwise})
    made: Rule = value(cls)()
    try:
        jax.eval_shape(lambda x: made.update(x, made.init(x, jnp), x, 1, jnp), jnp.zeros(1))
    except (TypeError, AttributeError) as error:
        raise BadInput(f"from_optax: {name!r} needs more than a gradient and the parameters: {error}") from error
    return made


# The ready-made: optax's names, signatures and defaults. Every number may be a schedule, not only the learning rate.


def sgd(
    learning_rate: Setting, momentum: Setting | None = None, nesterov: bool = False, accumulator_dtype: Any = None
) -> Transformation:
    """`optax.sgd`."""
    if momentum is None:
        return transform(GradientDescent.preset("optax"), lr=learning_rate)
    rule = Nesterov.preset("optax") if nesterov else Momentum.preset("optax")
    return transform(rule, dtypes=_only("v", accumulator_dtype), lr=learning_rate, momentum=momentum)


def sign_sgd(learning_rate: Setting) -> Transformation:
    """`optax.sign_sgd`."""
    return transform(SignDescent.preset("optax"), lr=learning_rate)


def signum(learning_rate: Setting, beta: Setting = 0.9, accumulator_dtype: Any = None) -> Transformation:
    """`optax.signum`: the sign of a moving average, which is Lion with one decay rate."""
    return transform(Lion(), dtypes=_only("m", accumulator_dtype), lr=learning_rate, b1=beta, b2=beta)


def adagrad(learning_rate: Setting, initial_accumulator_value: Setting = 0.1, eps: Setting = 1e-7) -> Transformation:
    """`optax.adagrad`."""
    return transform(AdaGrad.preset("optax"), lr=learning_rate, initial=initial_accumulator_value, eps=eps)


def adadelta(
    learning_rate: Setting | None = None,
    rho: Setting = 0.9,
    eps: Setting = 1e-6,
    weight_decay: Setting = 0.0,
    weight_decay_mask: Any = None,
) -> Transformation:
    """`optax.adadelta`. Without a learning rate its updates point uphill, as optax's do, to be scaled by the caller."""
    settings = {"lr": 1.0 if learning_rate is None else learning_rate, "rho": rho, "eps": eps}
    if isinstance(weight_decay, float | int) and weight_decay == 0:
        tx = transform(AdaDelta.preset("optax"), **settings)
    else:
        tx = _decayed(L2(AdaDelta.preset("optax")), weight_decay_mask, weight_decay=weight_decay, **settings)
    return optax.chain(tx, optax.scale(-1.0)) if learning_rate is None else tx


def rmsprop(
    learning_rate: Setting,
    decay: Setting = 0.9,
    eps: Setting = 1e-8,
    initial_scale: Setting = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Setting | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Transformation:
    """`optax.rmsprop`."""
    rule = RMSProp.preset(
        "optax",
        eps_at=INSIDE if eps_in_sqrt else OUTSIDE,
        centered=centered,
        nesterov=nesterov,
        corrected=bias_correction,
    )
    return transform(rule, lr=learning_rate, rho=decay, eps=eps, initial=initial_scale, momentum=momentum)


def adam(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> Transformation:
    """`optax.adam`."""
    rule = (Nadam if nesterov else Adam).preset("optax")
    return transform(rule, dtypes=_only("m", mu_dtype), lr=learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root)


def nadam(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> Transformation:
    """`optax.nadam`."""
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def adamw(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    mu_dtype: Any = None,
    weight_decay: Setting = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> Transformation:
    """`optax.adamw`."""
    rule = (NAdamW if nesterov else AdamW).preset("optax")
    settings = {"lr": learning_rate, "b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root}
    return _decayed(rule, mask, dtypes=_only("m", mu_dtype), weight_decay=weight_decay, **settings)


def nadamw(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    mu_dtype: Any = None,
    weight_decay: Setting = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = True,
) -> Transformation:
    """`optax.nadamw`."""
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


def amsgrad(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> Transformation:
    """`optax.amsgrad`, with both moments corrected or neither."""
    if bias_correction_mu != bias_correction_nu:
        raise BadInput(
            f"amsgrad corrects both moments or neither, not bias_correction_mu={bias_correction_mu} "
            f"with bias_correction_nu={bias_correction_nu}; optax.amsgrad has the mixture"
        )
    rule = AMSGrad.preset("optax", moments="corrected" if bias_correction_mu else "raw")
    return transform(rule, dtypes=_only("m", mu_dtype), lr=learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root)


def adamax(learning_rate: Setting, b1: Setting = 0.9, b2: Setting = 0.999, eps: Setting = 1e-8) -> Transformation:
    """`optax.adamax`."""
    return transform(AdaMax.preset("optax"), lr=learning_rate, b1=b1, b2=b2, eps=eps)


def adamaxw(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    weight_decay: Setting = 1e-4,
    mask: Any = None,
) -> Transformation:
    """`optax.adamaxw`."""
    rule = WeightDecay(AdaMax.preset("optax"))
    return _decayed(rule, mask, weight_decay=weight_decay, lr=learning_rate, b1=b1, b2=b2, eps=eps)


def radam(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.999,
    eps: Setting = 1e-8,
    eps_root: Setting = 0.0,
    threshold: Setting = 5.0,
    *,
    nesterov: bool = False,
) -> Transformation:
    """`optax.radam`, which has no Nesterov form here."""
    if nesterov:
        raise BadInput("radam has no nesterov=True here; optax.radam has it")
    settings = {"lr": learning_rate, "b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root, "bound": threshold}
    return transform(RAdam.preset("optax"), **settings)


def lion(
    learning_rate: Setting,
    b1: Setting = 0.9,
    b2: Setting = 0.99,
    mu_dtype: Any = None,
    weight_decay: Setting = 1e-3,
    mask: Any = None,
) -> Transformation:
    """`optax.lion`."""
    rule, dtypes = Lion.preset("optax"), _only("m", mu_dtype)
    return _decayed(rule, mask, dtypes=dtypes, weight_decay=weight_decay, lr=learning_rate, b1=b1, b2=b2)


def _only(key: str, dtype: Any) -> dict[str, Any]:
    return {} if dtype is None else {key: dtype}


def _decayed(rule: Rule, mask: Any, **settings: Any) -> Transformation:
    """A decaying rule, its decay confined to where `mask`, a tree of bools or a function to one, is true."""
    if mask is None:
        return transform(rule, **settings)

    def elsewhere(tree: Any) -> Any:
        return jax.tree.map(operator.not_, mask(tree) if callable(mask) else mask)

    still = transform(rule, **{**settings, "weight_decay": 0.0})
    return optax.chain(optax.masked(transform(rule, **settings), mask), optax.masked(still, elsewhere))
