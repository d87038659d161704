"""Ending work for a client that has gone away."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from .connection import ON_DISCONNECT


class CancelledByDisconnect:
    """A block that is cancelled when its client goes away, and then raises ClientDisconnect.

    To be entered when the request's body has been read. The server's own connections tell of a disconnect by themselves;
    under another ASGI server a task waits for it.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._has_gone = False
        self._is_over = False
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        on_disconnect = self._scope.get("extensions", {}).get(ON_DISCONNECT)
        if on_disconnect is not None:
            on_disconnect(self._gone)
        else:
            self._watching = asyncio.create_task(self._watch())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._watching is not None:
            self._watching.cancel()
        # As asyncio.timeout does: a cancellation that came from elsewhere as well goes on.
        if self._has_gone and self._task.uncancel() <= self._cancelling and kind in (None, asyncio.CancelledError):
            raise ClientDisconnect from error

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        if not self._is_over:
            self._has_gone = True
            self._task.cancel()
