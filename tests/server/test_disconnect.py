"""Work for a client that goes away, under our own server's connections and under another ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from pennyweight.server.connection import ON_DISCONNECT
from pennyweight.server.disconnect import CancelledByDisconnect


class Client:
    """A client that can leave, as a scope and a ``receive`` tell of it."""

    def __init__(self, *, has_extension: bool) -> None:
        self.gone = asyncio.Event()
        self.call: Callable[[], None] = lambda: None
        self.scope: dict[str, Any] = {"type": "http"}
        if has_extension:
            self.scope["extensions"] = {ON_DISCONNECT: self._take}

    def _take(self, call: Callable[[], None]) -> None:
        self.call = call

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self.gone.set()
        self.call()


@pytest.fixture(params=[True, False], ids=["ours", "another"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(has_extension=request.param)


async def test_a_client_that_leaves_cancels_the_work(client: Client) -> None:
    ended = []

    async def work() -> None:
        async with CancelledByDisconnect(client.scope, client.receive):
            asyncio.get_running_loop().call_soon(client.leave)
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

    with pytest.raises(ClientDisconnect):
        await work()
    assert ended
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_work_that_ends_is_left_alone_after(client: Client) -> None:
    async with CancelledByDisconnect(client.scope, client.receive):
        await asyncio.sleep(0)
    client.leave()
    await asyncio.sleep(0.01)


async def test_an_error_of_the_work_goes_on(client: Client) -> None:
    with pytest.raises(ValueError, match="wrong"):
        async with CancelledByDisconnect(client.scope, client.receive):
            raise ValueError("wrong")


async def test_a_cancellation_from_elsewhere_goes_on(client: Client) -> None:
    async def work() -> None:
        async with CancelledByDisconnect(client.scope, client.receive):
            client_leaves_too.set()
            await asyncio.sleep(60)

    client_leaves_too = asyncio.Event()
    task = asyncio.create_task(work())
    await client_leaves_too.wait()
    task.cancel()
    client.leave()
    with pytest.raises(asyncio.CancelledError):
        await task
