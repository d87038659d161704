"""What a person or a log is shown while a model is fetched and loaded."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from structlog.typing import FilteringBoundLogger

# A log gets a line each time this share of the bytes has come.
LOGGED_SHARE = 0.25


class LoadingReport:
    """A bar on a terminal's stderr, else a few log lines. ``advance`` may be called from any thread."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._logged: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> LoadingReport:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show nothing more. May be called more than once."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes of a stage have come."""
        with self._lock:
            if self._bar is not None:
                if stage not in self._tasks:
                    self._tasks[stage] = self._bar.add_task(stage, total=total)
                self._bar.update(self._tasks[stage], completed=done, total=total)
                return
            step = int(done / total / LOGGED_SHARE) if total else 0
            if step > self._logged.get(stage, -1):
                self._logged[stage] = step
                self._logger.info("loading", stage=stage, bytes=done, total=total)
