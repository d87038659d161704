"""Who waits for an engine, in the order in which they are taken."""

from __future__ import annotations

import asyncio
import bisect
from collections import Counter
from typing import Generic, TypeVar

from pennyweight.server.types import Request

_T = TypeVar("_T")


class Waiter(Generic[_T]):
    """One request in the line. ``turn`` is done when it is taken, or has the error that it is refused with."""

    __slots__ = ("number", "request", "since", "turn")

    def __init__(self, request: Request, number: int, since: float) -> None:
        self.request = request
        self.number = number
        self.since = since
        self.turn: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    @property
    def rank(self) -> tuple[int, int]:
        """Lower priority values first, then as they came."""
        return self.request.priority, self.number


class Line(Generic[_T]):
    """Waiters by rank. Belongs to the event loop. ``classes`` counts them by priority."""

    def __init__(self) -> None:
        self._waiters: list[Waiter[_T]] = []
        self._count = 0
        self.classes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def first(self) -> Waiter[_T]:
        """Who is taken next; there must be somebody."""
        return self._waiters[0]

    @property
    def last(self) -> Waiter[_T]:
        """Who is taken after all others; there must be somebody."""
        return self._waiters[-1]

    def ahead_of(self, priority: int) -> int:
        """How many a newcomer of this class would find before it."""
        return bisect.bisect_right(self._waiters, priority, key=lambda one: one.request.priority)

    def add(self, request: Request, now: float) -> Waiter[_T]:
        """Put a request behind all of its class and of better ones."""
        self._count += 1
        waiter: Waiter[_T] = Waiter(request, self._count, now)
        bisect.insort(self._waiters, waiter, key=lambda one: one.rank)
        self.classes[request.priority] += 1
        return waiter

    def remove(self, waiter: Waiter[_T]) -> None:
        """Take one out, wherever it stands. One that has left already is ignored."""
        place = bisect.bisect_left(self._waiters, waiter.rank, key=lambda one: one.rank)
        if place < len(self._waiters) and self._waiters[place] is waiter:
            del self._waiters[place]
            self.classes[waiter.request.priority] -= 1
            if not self.classes[waiter.request.priority]:
                del self.classes[waiter.request.priority]
