"""What a report is made of, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Draws a plot. It is called where a page is written and never for Markdown, which so needs no matplotlib.
Paint = Callable[["Axes"], None]


@dataclass(frozen=True)
class Figure:
    """A plot. ``title`` says what is to be seen, ``alt`` the same to those who can't see it."""

    name: str  # unique within its result
    title: str
    alt: str
    paint: Paint
    caption: str = ""
    height: float = 3.0  # inches; every plot is equally wide


@dataclass(frozen=True)
class Table:
    """Rows of text. The first ``text_columns`` columns are words, and the others numbers, which stand to the right."""

    name: str  # unique within its result
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers that a run is remembered by; ``show`` writes a value with its unit."""

    name: str
    value: float
    show: Callable[[float], str]
    more_is_better: bool


@dataclass(frozen=True)
class Story:
    """A result for people: the answer in plain sentences, then what it stands on."""

    title: str
    answers: tuple[str, ...] = ()
    key_figures: tuple[KeyFigure, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
