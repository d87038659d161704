"""The embeddings that an engine's process has been asked for and has not given yet."""

from __future__ import annotations

import asyncio

from pennyweight.server.errors import EngineFailed, InvalidRequest, PennyweightError

from .messages import Embedded

Vectors = tuple[bytes, ...]


class PendingVectors:
    """By request. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[Vectors]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def expect(self, request_id: str) -> asyncio.Future[Vectors]:
        """What will have the vectors of a request, until ``forget``."""
        found = self._pending[request_id] = asyncio.get_running_loop().create_future()
        return found

    def forget(self, request_id: str) -> None:
        """Nobody waits for them any more."""
        del self._pending[request_id]

    def take(self, message: Embedded) -> None:
        """Hand over what the process gave, or what it failed with."""
        waiting = self._pending.get(message.request_id)
        if waiting is None or waiting.done():
            return  # cancelled a moment ago
        if message.error is None:
            waiting.set_result(message.vectors)
        elif message.param is None:
            waiting.set_exception(EngineFailed(message.error))
        else:
            waiting.set_exception(InvalidRequest(message.error, param=message.param))

    def fail(self, error: PennyweightError) -> None:
        """End all of them with an error."""
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(error)
