"""A report as sections in the order in which it is read, the same for HTML and for Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .document import Figure, Story, Table
from .history import Told, history
from .kinds.generic import flatten, written
from .kinds.registry import place, tell
from .quantities import binary_bytes
from .stored import StoredResult


@dataclass(frozen=True)
class Link:
    """A file of raw data, by its address relative to the page."""

    name: str
    href: str
    size: str


@dataclass(frozen=True)
class Details:
    """What a reader needs to judge a run or to run it again."""

    command: str
    tables: tuple[Table, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Section:
    """One run."""

    anchor: str
    heading: str
    when: str
    story: Story
    complaints: tuple[str, ...]
    details: Details


@dataclass(frozen=True)
class Group:
    """Runs of the same benchmark: the latest, those before it (newest first), and the history where there are any."""

    latest: Section
    earlier: tuple[Section, ...] = ()
    history: Table | None = None
    history_figure: Figure | None = None

    @property
    def sections(self) -> tuple[Section, ...]:
        return (self.latest, *self.earlier)


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    machines: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def complaints(self) -> list[tuple[Section, str]]:
        """What is wrong with any of the runs."""
        return [(one, text) for group in self.groups for one in group.sections for text in one.complaints]


def make_page(results: Iterable[StoredResult], out: Path) -> Page:
    """The page of results, oldest first, that will lie in the directory ``out``.

    Runs are of one group when they are of the same kind and lie at the same place below the directories that were named: what
    a suite measured is compared with the same part of another suite.
    """
    grouped: dict[tuple[str, str], list[StoredResult]] = {}
    for one in results:
        grouped.setdefault((one.result.kind, one.name), []).append(one)
    ordered = sorted(grouped.items(), key=lambda item: (place(item[0][0]), item[0]))
    kinds = [kind for (kind, _), _ in ordered]
    groups = []
    for number, ((kind, name), runs) in enumerate(ordered, 1):
        heading_of = name if kinds.count(kind) > 1 else ""
        groups.append(_group([Told(one, tell(one)) for one in runs], f"{kind}-{number}", heading_of, out))
    machines = dict.fromkeys(_machine(one) for _, runs in ordered for one in runs)
    title = f"{groups[0].latest.heading}" if len(groups) == 1 else "Benchmarks"
    return Page(title, tuple(machines), tuple(groups))


def _group(runs: list[Told], anchor: str, name: str, out: Path) -> Group:
    sections = [
        _section(told, f"{anchor}-{number}" if number else anchor, name, out)
        for number, told in enumerate(reversed(runs))
    ]
    if len(runs) == 1:
        return Group(sections[0])
    table, figure = history(runs)
    return Group(sections[0], tuple(sections[1:]), table, figure)


def _section(told: Told, anchor: str, name: str, out: Path) -> Section:
    result = told.stored.result
    heading = f"{told.story.title} ({name})" if name else told.story.title
    when = f"{told.stored.finished:%Y-%m-%d %H:%M} UTC"
    return Section(anchor, heading, when, told.story, result.complaints, _details(told.stored, out))


def _details(stored: StoredResult, out: Path) -> Details:
    result, machine = stored.result, stored.result.machine
    hardware = (
        ("CPU", f"{machine.cpu}, {machine.cores} cores usable"),
        ("instructions", ", ".join(machine.cpu_flags) or "none of AVX and AMX"),
        ("memory", binary_bytes(machine.memory_bytes)),
        ("system", machine.system),
        ("Python", machine.python),
        ("started", result.started or "not recorded"),
        ("finished", result.finished),
    )
    settings = tuple((name, written(value)) for name, value in flatten(result.settings))
    tables = [
        Table("machine", "Machine and time", ("", "value"), hardware, text_columns=2),
        Table("versions", "Versions", ("what", "version"), tuple(result.versions.items()), text_columns=2),
    ]
    if settings:
        tables.append(Table("settings", "Settings", ("setting", "value"), settings, text_columns=2))
    links = tuple(Link(path.name, _relative(path, out), binary_bytes(path.stat().st_size)) for path in stored.files())
    return Details(result.command, tuple(tables), links)


def _relative(path: Path, out: Path) -> str:
    """The file's address relative to the page's directory."""
    return quote(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())


def _machine(stored: StoredResult) -> str:
    machine = stored.result.machine
    return f"{machine.cpu}, {machine.cores} cores, {binary_bytes(machine.memory_bytes)}"
