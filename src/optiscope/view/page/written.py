"""A page from its template: self-contained, escaped, and written whole or not at all."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...atomic import replacing
from ...errors import BadInput

HERE = Path(__file__).parent


def written(template: str, path: str | os.PathLike[str], **facts: Any) -> Path:
    """Fill a template of this folder with facts, and write the page.

    Raises:
        BadInput: the file cannot be written.
    """
    text = _templates().get_template(template).render(facts)
    page = Path(path)
    try:
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write the page to {str(path)!r}: {error.strerror}") from None
    return page


@functools.cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(short=_short, p=_p)
    made.globals["style"] = Markup((HERE / "report.css").read_text(encoding="utf-8"))
    return made


def _short(number: float | None, digits: int = 5) -> str:
    if number is None:
        return "–"
    return "∞" if number == float("inf") else f"{number:.{digits}g}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
