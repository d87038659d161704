"""Rounds over everything that is measured, interleaved, so that whatever changes on the machine meanwhile changes for all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from pennyweight.bench.load.view import View
from pennyweight.bench.peers.target import Target

from .measure import Measurement, measure
from .plan import Plan

T = TypeVar("T")


def interleaved(items: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Every item once a round, with the round's number; each round begins with another one."""
    for number in range(rounds):
        first = number % len(items)
        for item in (*items[first:], *items[:first]):
            yield number, item


async def run_rounds(targets: Sequence[Target], plan: Plan, rounds: int, keep: Callable[[Measurement], None]) -> None:
    """Measure every target once a round. ``keep`` gets each measurement as it is made, so that it stays if the run ends early."""
    with View() as view:
        for number, target in interleaved(targets, rounds):
            keep(await measure(target, plan, number, rounds, view))


async def until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; a SIGTERM cancels it as Ctrl-C does, so that no server is left running."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise  # Ctrl-C: asyncio.run makes of it what it is
        raise KeyboardInterrupt from None
