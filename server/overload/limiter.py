"""What one engine is given, when, and what is refused instead."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Callable

from pennyweight.server.errors import DeadlineExceeded, Overloaded, PennyweightError
from pennyweight.server.types import Delta, Request

from .batch_limit import BatchLimit
from .drain import Drain
from .line import Line, Waiter
from .start_times import StartTimes
from .window import Window

# A request is let into the line if it is expected to wait for no more than the bound, and refused after so many times of it.
PATIENCE = 3.0
RETRY_SECONDS = 1.0


class Reason(enum.StrEnum):
    """Why a request was not given to its engine: the line was too long for it when it came, its deadline would have passed or has
    passed in the line, a better class took its place, or it waited for longer than was expected."""

    FULL = "full"
    DEADLINE = "deadline"
    DISPLACED = "displaced"
    WAITED = "waited"


class Grade(enum.StrEnum):
    """Where a class stands, for counting: priorities are the clients' to choose, and there are more than can be counted each."""

    ABOVE = "above"
    DEFAULT = "default"
    BELOW = "below"


def grade(priority: int) -> Grade:
    """The grade of a priority; lower values are above."""
    return Grade.DEFAULT if not priority else Grade.ABOVE if priority < 0 else Grade.BELOW


class Place:
    """One request that is with the engine ``since`` a time and until it has ``left``, after it has ``waited`` so many seconds in the line."""

    __slots__ = ("_limiter", "is_starting", "request", "since", "waited")

    def __init__(self, limiter: Limiter, request: Request, since: float) -> None:
        self._limiter = limiter
        self.request = request
        self.since = since
        self.waited = 0.0
        self.is_starting = True

    def started(self, queue_seconds: float | None) -> None:
        """The engine has begun to answer, after so long in its queue if it tells that."""
        self._limiter.started(self, queue_seconds)

    def interval(self, seconds: float, delta: Delta) -> None:
        """The time from its last delta to this one."""
        self._limiter.interval(seconds, delta)

    def pushed_back(self) -> None:
        """The engine itself had no place for it."""
        if self.is_starting:
            self._limiter.window.pushed_back()

    def left(self) -> None:
        """The request has ended, in whatever way."""
        self._limiter.left(self)


class Limiter:
    """Lets as many requests to an engine as its ``Window`` says that it may have and not have started, and no more in all than its
    ``BatchLimit``; others wait in a line.

    Lower priority values are better classes. A request finds in the window's places only those of its own and of better classes: an
    engine that runs better ones first must hear of them. ``max_wait`` (seconds, None for no bound) is how long a request may be
    expected to wait: what would wait longer is refused at once, and who stands at the end gives way to better classes that come.
    What one call asks for at once is taken or refused with the first of it. All methods belong to the event loop's thread.

    ``refused`` counts by reason and grade.
    """

    def __init__(
        self,
        max_wait: float | None = None,
        max_tpot: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.window = Window()
        self.batch = BatchLimit(max_tpot)
        self.line: Line[Place] = Line()
        self.times = StartTimes()
        self.in_flight = 0
        self.refused: Counter[tuple[Reason, Grade]] = Counter()
        self._max_wait = max_wait
        self._clock = clock
        self._drain = Drain()
        self._starting: Counter[int] = Counter()
        # Requests that wait or are with the engine, by their arrival, which those of one call have in common and no others.
        self._calls: Counter[float] = Counter()

    @property
    def starting(self) -> int:
        """Requests that the engine has and has not started."""
        return self._starting.total()

    async def enter(self, request: Request) -> Place:
        """A place with the engine, at once or after a wait. Raises Overloaded, and DeadlineExceeded after a wait."""
        now = self._clock()
        if not self.line and self._has_room(request.priority):
            self._calls[request.arrival] += 1
            return self._take(request, now)
        is_alone = not (request.arrival and request.arrival in self._calls)
        self._refuse_hopeless(request, now, is_alone=is_alone)
        self._calls[request.arrival] += 1
        try:
            return await self._wait(request, now, is_alone=is_alone)
        except BaseException:
            self._forget(request)
            raise

    def started(self, place: Place, queue_seconds: float | None) -> None:
        """See Place.started."""
        if place.is_starting:
            now = self._clock()
            seconds = now - place.since
            self.window.started(self.times.waited(seconds, queue_seconds, place.request.prompt, now), seconds)
            self._is_no_longer_starting(place)

    def interval(self, seconds: float, delta: Delta) -> None:
        """See Place.interval."""
        self.times.interval(seconds, delta)
        self.batch.interval(seconds, max(len(delta.token_ids), 1), self.in_flight, self._clock())

    def left(self, place: Place) -> None:
        """See Place.left."""
        self.in_flight -= 1
        self._forget(place.request)
        if place.is_starting:
            self._is_no_longer_starting(place)
        else:
            self._call()

    def _has_room(self, priority: int) -> bool:
        if self.in_flight >= self.batch.size:
            self.batch.full()
            return False
        if sum(count for one, count in self._starting.items() if one <= priority) < self.window.size:
            return True
        self.window.full()
        return False

    def _take(self, request: Request, now: float) -> Place:
        self.in_flight += 1
        self._starting[request.priority] += 1
        return Place(self, request, now)

    def _is_no_longer_starting(self, place: Place) -> None:
        place.is_starting = False
        priority = place.request.priority
        self._starting[priority] -= 1
        if not self._starting[priority]:
            del self._starting[priority]
        self._call()

    def _forget(self, request: Request) -> None:
        self._calls[request.arrival] -= 1
        if not self._calls[request.arrival]:
            del self._calls[request.arrival]

    def _call(self) -> None:
        """Have those at the head of the line go on for whom there is room."""
        now = self._clock()
        while self.line and self._has_room((waiter := self.line.first).request.priority):
            if not waiter.turn.done():  # else cancelled, and on its way out
                self._drain.took(now)
                waiter.turn.set_result(self._take(waiter.request, now))
            self._remove(waiter)

    async def _wait(self, request: Request, now: float, *, is_alone: bool) -> Place:
        if not self.line:
            self._drain.began(now)
        waiter = self.line.add(request, now)
        timers = self._timers(waiter, is_alone=is_alone)
        try:
            self._call()
            self._displace(request.priority, now)
            place = await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                # It was taken in the same moment. Whoever calls forgets the request, and so would its place.
                self._calls[request.arrival] += 1
                waiter.turn.result().left()
            raise
        finally:
            for timer in timers:
                timer.cancel()
            self._remove(waiter)
        place.since = self._clock()
        place.waited = place.since - now
        return place

    def _remove(self, waiter: Waiter[Place]) -> None:
        self.line.remove(waiter)
        if not self.line:
            self._drain.ended()
            self.window.relaxed()

    def _timers(self, waiter: Waiter[Place], *, is_alone: bool) -> list[asyncio.TimerHandle]:
        """What ends a wait: the deadline, and the bound for all but the further requests of a call."""
        loop, deadline = asyncio.get_running_loop(), waiter.request.deadline
        timers = []
        if deadline is not None:
            late = DeadlineExceeded("The request's deadline passed before its turn came.")
            timers.append(loop.call_later(deadline - waiter.since, self._refuse, waiter, Reason.DEADLINE, late))
        if self._max_wait is not None and is_alone:
            timers.append(loop.call_later(PATIENCE * self._max_wait, self._refuse, waiter, Reason.WAITED))
        return timers

    def _refuse_hopeless(self, request: Request, now: float, *, is_alone: bool) -> None:
        """Raise Overloaded for a request that would wait for too long. Where nobody waits one always may, and shows how long it takes."""
        expected = self._drain.seconds(self.line.ahead_of(request.priority) + 1, now) if self.line else None
        if expected is None:
            return
        if request.deadline is not None and now + expected > request.deadline:
            self._count(Reason.DEADLINE, request)
            raise _overloaded(expected, "until after its deadline")
        if self._max_wait is not None and expected > self._max_wait and is_alone:
            self._count(Reason.FULL, request)
            raise _overloaded(expected, f"where it may wait {self._max_wait:g} s")

    def _displace(self, priority: int, now: float) -> None:
        """Refuse who stands at the end and now would wait for too long, as far as they are of worse classes than the newcomer's."""
        while self._max_wait is not None and self.line and (waiter := self.line.last).request.priority > priority:
            expected = self._drain.seconds(len(self.line), now)
            if expected is None or now - waiter.since + expected <= self._max_wait:
                return
            self._refuse(waiter, Reason.DISPLACED)

    def _refuse(self, waiter: Waiter[Place], reason: Reason, error: PennyweightError | None = None) -> None:
        expected = self._drain.seconds(len(self.line), self._clock())
        self._remove(waiter)
        if not waiter.turn.done():
            self._count(reason, waiter.request)
            waiter.turn.set_exception(error or _overloaded(expected, "for others are served first"))

    def _count(self, reason: Reason, request: Request) -> None:
        self.refused[reason, grade(request.priority)] += 1


def _overloaded(expected: float | None, why: str) -> Overloaded:
    wait = expected or RETRY_SECONDS
    message = f"The engine is at its limit. The request would wait for about {wait:.1f} s more, {why}. Try again later."
    return Overloaded(message, retry_after=wait)
