"""Methods by name, with settings: `bfgs`, `lbfgs:memory=20`, `cg:beta=pr+`, `bfgs:search=hager-zhang`."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import BadInput, unknown
from .linesearch import Backtracking, HagerZhang, Search, StrongWolfe
from .solve import LEAST_SQUARES, MINIMIZERS
from .walk import Method

METHODS: dict[str, Method] = MINIMIZERS | LEAST_SQUARES
SEARCHES: dict[str, Search] = {
    "strong-wolfe": StrongWolfe(),
    "hager-zhang": HagerZhang(),
    "backtracking": Backtracking(),
}


def parse(text: str) -> Method:
    """Read a method written as "bfgs" or "lbfgs:memory=20".

    Raises:
        BadInput: no method has the name, or it has no such setting or value.
    """
    name, _, rest = text.partition(":")
    if name.lower() not in METHODS:
        raise unknown("method", name, METHODS, f"the methods: {', '.join(METHODS)}")
    method: Any = METHODS[name.lower()]
    fields = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    given: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        field, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise BadInput(f"a method is written name:setting=value,setting=value; {text!r} has {item!r}")
        if field in given:
            raise BadInput(f"{text!r} sets {field} twice")
        if field not in fields:
            raise unknown(f"setting of {name}", field, fields, f"its settings: {', '.join(fields) or 'none'}")
        given[field] = _read(field, value, fields[field])
    return dataclasses.replace(method, **given)


def _read(field: str, text: str, default: Any) -> Any:
    """A setting's value, of the kind that its default is."""
    if isinstance(default, Search):
        if text.lower() not in SEARCHES:
            raise unknown("search", text, SEARCHES, f"the searches: {', '.join(SEARCHES)}")
        return SEARCHES[text.lower()]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadInput(f"{field} is true or false, not {text!r}")
        return text.lower() == "true"
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise BadInput(f"{field} is a whole number, not {text!r}") from None
    return text
