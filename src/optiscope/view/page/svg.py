"""A figure as inline SVG that takes its text colour from the page, so that it is at home in the dark too."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import style

PAGE: Any = {**style.SETTINGS, "svg.fonttype": "none", "savefig.dpi": 130}
SIZE = (4.2, 3.0)
"""Inches: about as wide as a phone, where nine-point text must stay nine points."""


def inline(draw: Callable[[Axes], None], says: str) -> Markup:
    """What `draw` puts into axes, as an `<svg>` element.

    Args:
        draw: called with empty axes.
        says: what a reader who cannot see the picture is told.
    """
    with matplotlib.rc_context(PAGE):
        drawn = style.figure(*SIZE)
        draw(drawn.subplots())
    return whole(drawn, says)


def whole(drawn: Figure, says: str) -> Markup:
    """A figure as an `<svg>` element."""
    with matplotlib.rc_context(PAGE):
        text = io.StringIO()
        drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Groups are numbered alike in every picture, and an id may be in a page once.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"| height="[^"]*pt"| width="[^"]*pt"', "", svg, count=2)
    svg = svg.replace("#000000", "currentColor")
    return Markup('<svg role="img" aria-label="{}"').format(says) + Markup(svg.removeprefix("<svg"))
