"""What a fit shows on stderr while it runs: it ends when it no longer gets better, so there is no share to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def fitting_progress(title: str) -> Iterator[Callable[[float], None]]:
    """Takes the sum of squares after each iteration."""
    from rich.console import Console

    with Console(stderr=True).status(f"{title} ...") as status:
        yield lambda squares: status.update(f"{title} ... sum of squares {squares:.3g}")
