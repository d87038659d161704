"""Rounds over all peers, interleaved, so that whatever changes on the machine meanwhile changes for all."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from rich.console import Console

from pennyweight.bench.peers.base import Peer

from .measure import Measurement, Plan, measure

T = TypeVar("T")


async def run_rounds(peers: Sequence[Peer], plan: Plan, rounds: int) -> list[Measurement]:
    """Measure every peer once a round; each round begins with another one."""
    progress = Console(stderr=True)
    measurements = []
    for number in range(rounds):
        first = number % len(peers)
        for peer in (*peers[first:], *peers[:first]):
            say = functools.partial(_say, progress, f"round {number + 1} of {rounds}: {peer.name} {peer.variant}")
            measurements.append(await measure(peer, plan, number, say))
    return measurements


async def until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; a SIGTERM cancels it as Ctrl-C does, so that no server is left running."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _say(progress: Console, subject: str, stage: str) -> None:
    progress.print(f"{datetime.now():%H:%M:%S} {subject}: {stage}", markup=False, highlight=False, soft_wrap=True)
