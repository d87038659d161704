"""A load as it runs, on stderr: a live line on a terminal, and a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .mode import Mode, OpenLoop
from .progress import OnProgress, Progress

QUIET_SECONDS = 5.0
RATE_SECONDS = 5.0


class View:
    """Shows the progress of one load after another, within a ``with`` block."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._is_live = self._console.is_terminal
        self._shown = 0.0

    def __enter__(self) -> View:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def watch(self, mode: Mode) -> OnProgress:
        """What is to be told of one load's progress."""
        recent: deque[tuple[float, int]] = deque()
        self._shown = time.perf_counter()

        def show(progress: Progress) -> None:
            recent.append((progress.elapsed, progress.events))
            while progress.elapsed - recent[0][0] > RATE_SECONDS:
                recent.popleft()
            line = progress_line(mode, progress, _rate(recent))
            if self._is_live:
                self._live.update(Text(line))
            elif time.perf_counter() - self._shown >= QUIET_SECONDS:
                self._shown = time.perf_counter()
                self.say(line)

        return show


def label(mode: Mode) -> str:
    """A load's name for people."""
    if isinstance(mode, OpenLoop):
        cv = f" (CV {mode.cv:g})" if mode.cv is not None else ""
        return f"{mode.rate:.3g} requests/s, {mode.arrivals}{cv}"
    return f"{mode.concurrency} at once"


def progress_line(mode: Mode, progress: Progress, tokens_per_second: float | None) -> str:
    """What is known of a running load, in one line."""
    throughput = "-" if tokens_per_second is None else f"{tokens_per_second:.0f}"
    ttft = "-" if progress.ttft_p50 is None else f"{progress.ttft_p50 * 1e3:.0f} ms"
    return (
        f"{label(mode)}: {max(progress.elapsed, 0):.0f} s, {progress.done} of {progress.planned} done, "
        f"{progress.running} running, {progress.failed} failed, {throughput} tokens/s, TTFT p50 {ttft}"
    )


def _rate(recent: deque[tuple[float, int]]) -> float | None:
    """Events per second over what is kept of them."""
    (begin, first), (end, last) = recent[0], recent[-1]
    return (last - first) / (end - begin) if end > begin else None
