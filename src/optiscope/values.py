"""Values: frozen dataclasses that JAX sees as pytrees.

Rules, schedules, tasks and problems are all values. A field is a *leaf* (a number, an array or another value; JAX may
trace, differentiate and batch it) unless it is declared `static()`, in which case it is part of the type.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from types import ModuleType
from typing import Any, TypeVar, dataclass_transform

import wrapt

T = TypeVar("T")


def static(default: Any = dataclasses.MISSING, **metadata: Any) -> Any:
    """A field that JAX never traces: two values that differ in it compile apart."""
    return dataclasses.field(default=default, metadata={"static": True, **metadata})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def value(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a JAX pytree. Two are equal where their types and all their fields are.

    The registration waits until somebody imports JAX, so that a rule can drive torch or NumPy without it.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    plain: Any = cls.__eq__

    def equal(self: Any, other: object) -> Any:
        try:
            return plain(self, other)
        except (ValueError, TypeError):  # NumPy's and JAX's, of arrays, which answer == entry by entry
            return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))

    cls.__eq__ = equal  # type: ignore[method-assign]  # which is the point
    wrapt.register_post_import_hook(partial(_register, cls), "jax")
    return cls


def _same(a: Any, b: Any) -> bool:
    """Whether two fields are equal, arrays in all their entries."""
    if hasattr(a, "shape") or hasattr(b, "shape"):
        return bool(getattr(a, "shape", ()) == getattr(b, "shape", ()) and (a == b).all())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _register(cls: type, jax: ModuleType) -> None:
    fields = dataclasses.fields(cls)
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    statics = tuple(f.name for f in fields if f.metadata.get("static"))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in leaves)

    def flatten(obj: Any) -> tuple[tuple, tuple]:
        return tuple(getattr(obj, n) for n in leaves), tuple(getattr(obj, n) for n in statics)

    def flatten_with_keys(obj: Any) -> tuple[tuple, tuple]:
        children, aux = flatten(obj)
        return tuple(zip(keys, children, strict=True)), aux

    def unflatten(aux: tuple, children: tuple) -> Any:
        # Past the constructor: a leaf may be a tracer or a placeholder here, which no validation could read.
        obj: Any = object.__new__(cls)
        for name, child in (*zip(leaves, children, strict=True), *zip(statics, aux, strict=True)):
            object.__setattr__(obj, name, child)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
