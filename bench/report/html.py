"""A report as one HTML page that needs nothing beside itself: no script, no network, no other file."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .document import Figure
from .page import Page
from .svg import draw


def as_html(page: Page) -> str:
    """The page. Raises NoMatplotlib."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = _svg
    here = files(__package__)
    style = Markup(
        here.joinpath("page.css").read_text(encoding="utf-8")
    )  # our own file: nothing in it is from a result
    return environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8")).render(
        page=page, style=style
    )


def _svg(figure: Figure, anchor: str) -> Markup:
    # matplotlib escapes what it is given to write, and draw() the rest.
    return Markup(draw(figure, f"{anchor}-{figure.name}"))
