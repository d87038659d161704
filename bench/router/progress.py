"""Shows how far training and evaluating are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def told(steps: Mapping[str, int]) -> Iterator[Callable[[str, int], object]]:
    """A bar for each kind of step on a terminal, else a line when one is done; call what is given with a kind and how many are done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    done = dict.fromkeys(steps, 0)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = {name: progress.add_task(name, total=total) for name, total in steps.items()}

        def tell(name: str, count: int) -> None:
            progress.advance(bars[name], count)
            done[name] += count
            if not console.is_terminal and done[name] == steps[name]:
                console.print(f"{name}: {done[name]:,} done", markup=False, highlight=False)

        yield tell
