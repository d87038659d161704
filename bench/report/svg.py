"""Plots as SVG inside a page: one style for all, with the page's own colours, so that they are legible by day and by night."""

from __future__ import annotations

import io
import re
from typing import Any

from .document import Figure

WIDTH = 4.6  # inches: 331 units of the viewBox, about as many pixels as a phone's column has, so that text keeps its size there
FONT_SIZE = 11.0

# What matplotlib draws in these is shown in the page's colours (page.css has both palettes). The palette is Okabe and Ito's,
# which people with any of the usual colour blindnesses can tell apart; lines differ by marker and dash as well.
INK = "#010101"
FAINT = "#020202"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f01", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", "-", "--", "-.", ":")

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "font.family": ["DejaVu Sans"],  # wider than most: what fits in it fits in the reader's
    "text.parse_math": False,  # a dollar is a dollar
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE - 0.5,
    "ytick.labelsize": FONT_SIZE - 0.5,
    "legend.fontsize": FONT_SIZE - 0.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.use": True,
}


class NoMatplotlib(Exception):
    """The plots want matplotlib, and it isn't installed."""


def draw(figure: Figure, prefix: str) -> str:
    """The figure as an ``<svg>`` element as wide as its place; ``prefix`` makes its ids unique in the page. Raises NoMatplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise NoMatplotlib("plots want matplotlib: pip install 'pennyweight[bench]'") from error
    # The salt makes the names of clip paths the same with each run, so that a page changes where its results do.
    style: Any = {**STYLE, "svg.hashsalt": prefix}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(WIDTH, figure.height))
        FigureCanvasSVG(canvas)
        figure.paint(canvas.add_subplot())
        file = io.StringIO()
        canvas.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return _for_a_page(file.getvalue(), prefix, figure.alt)


def _for_a_page(document: str, prefix: str, alt: str) -> str:
    """matplotlib's document as an element: no prologue, no size, no style for everything, own ids, the page's colours."""
    body = document[document.index("<svg") :]
    inner = body[body.index(">") + 1 :]
    view = re.search(r'viewBox="([^"]+)"', body)
    assert view is not None  # matplotlib writes one always
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<!--.*?-->\s*", "", inner, flags=re.DOTALL)
    inner = re.sub(r' id="([^"]+)"', rf' id="{prefix}-\1"', inner)
    inner = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', inner)
    inner = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", inner)
    for number, colour in enumerate(COLOURS, 1):
        inner = inner.replace(colour, f"var(--series-{number})")
    inner = inner.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    return f'<svg viewBox="{view[1]}" role="img" aria-label="{_quoted(alt)}">{inner}'


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
