"""What a plan and a fit show on stderr while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def plan_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Takes the stage, and how much of it is done of how much."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        yield lambda stage, done, total: progress.update(task, description=stage, completed=done, total=total)


@contextmanager
def fitting_progress(title: str) -> Iterator[Callable[[float], None]]:
    """Takes the sum of squares after each iteration: a fit ends when that no longer falls, so there is no share to show."""
    from rich.console import Console

    with Console(stderr=True).status(f"{title} ...") as status:
        yield lambda squares: status.update(f"{title} ... sum of squares {squares:.3g}")
