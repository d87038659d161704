"""Whether an upstream is there: told by its answers, and asked now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pennyweight.server.engines.base import Health, HealthState
from pennyweight.server.errors import Unavailable

from .circuit import Circuit
from .failure import Failure


class Watch:
    """Keeps the circuit. ``check`` asks the upstream and raises Failure when it isn't there, or wouldn't have us."""

    def __init__(self, circuit: Circuit, check: Callable[[], Awaitable[None]], *, interval: float) -> None:
        self._circuit = circuit
        self._check = check
        self._interval = interval
        self._next_check = 0.0
        # Why nothing is to be expected of it, though the circuit is closed.
        self._problem = "not asked yet"
        self._task: asyncio.Task[None] | None = None

    @property
    def health(self) -> Health:
        """READY while requests are sent and there is hope for them."""
        if self._circuit.is_open:
            return Health(state=HealthState.STALLED, detail=self._circuit.reason)
        if self._problem:
            return Health(state=HealthState.STALLED, detail=self._problem)
        return Health(state=HealthState.READY)

    @property
    def is_open(self) -> bool:
        """Whether no request is to be sent now."""
        return self._circuit.is_open

    def refuse_if_open(self) -> None:
        """Raise Unavailable while the upstream is to be left alone."""
        if self._circuit.is_open:
            seconds = max(self._next_check - asyncio.get_running_loop().time(), 1.0)
            raise Unavailable(f"The upstream is down: {self._circuit.reason}", retry_after=seconds)

    def succeeded(self) -> None:
        """A request was answered."""
        self._problem = ""
        self._circuit.succeeded()

    def failed(self, failure: Failure) -> None:
        """A request was not."""
        if failure.is_fault:
            self._circuit.failed(failure.reason)

    async def start(self) -> None:
        """Ask once, and from then on in the background."""
        await self._ask()
        self._task = asyncio.create_task(self._keep_asking())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _keep_asking(self) -> None:
        while True:
            self._next_check = asyncio.get_running_loop().time() + self._interval
            await asyncio.sleep(self._interval)
            await self._ask()

    async def _ask(self) -> None:
        try:
            await self._check()
        except Failure as failure:
            # What was there before may be again; what never was, or refuses us, is told at once.
            if self._problem or not failure.is_fault:
                self._problem = failure.reason
            self.failed(failure)
        else:
            self._problem = ""
            self._circuit.close()
