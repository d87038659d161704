"""Shows how far quantising is: stages, layers done, time left; on a terminal as a bar, else as lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pennyweight.quantize.job import Event, Note, Stage, Step

# Between two lines where there is no terminal.
LINE_SECONDS = 10.0
# A stage that counts more than this counts bytes.
MANY = 1_000_000


class QuantizeProgress:
    """A context manager; ``show`` takes each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self._stage = Stage("")
        self._done = 0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Bring what is seen up to date."""
        match event:
            case Stage():
                self._begin(event)
            case Step():
                self._advance(event.count)
            case Note():
                self._console.print(event.text, markup=False)
            case _:
                pass

    def _begin(self, stage: Stage) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._stage, self._done = stage, 0
        self._began = self._told = time.monotonic()
        self._task = self._progress.add_task(stage.name, total=stage.total or None, count=self._count())
        if not self._console.is_terminal:
            self._console.print(stage.name, markup=False)

    def _advance(self, count: int) -> None:
        self._done += count
        if self._task is not None:
            self._progress.update(self._task, advance=count, count=self._count())
        now = time.monotonic()
        if not self._console.is_terminal and self._stage.total and now - self._told >= LINE_SECONDS:
            self._told = now
            left = (now - self._began) * (self._stage.total - self._done) / max(self._done, 1)
            self._console.print(f"{self._stage.name}: {self._count()}, about {left:.0f} s left", markup=False)

    def _count(self) -> str:
        total = self._stage.total
        if not total:
            return ""
        return f"{self._done / 1e6:.0f}/{total / 1e6:.0f} MB" if total > MANY else f"{self._done}/{total}"
