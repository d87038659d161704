"""Writes a report of directories of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .html import as_html
from .markdown import as_markdown
from .page import make_page
from .stored import find_results

HTML = "report.html"
MARKDOWN = "report.md"


def write_report(directories: Sequence[Path], out: Path) -> Path:
    """Write report.html and report.md of every result at or below the directories into ``out``; returns the page's path.

    Raises NoResult where a directory holds none, NoMatplotlib, and OSError where ``out`` can't be written.
    """
    page = make_page(find_results(directories), out)
    html, markdown = as_html(page), as_markdown(page, HTML)
    out.mkdir(parents=True, exist_ok=True)
    (out / HTML).write_text(html, encoding="utf-8")
    (out / MARKDOWN).write_text(markdown, encoding="utf-8")
    return out / HTML
