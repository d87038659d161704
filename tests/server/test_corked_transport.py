"""What is written at once goes out in one piece, in order, and before a close."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from pennyweight.server.corked_transport import MAX_KEPT_BYTES, CorkedTransport


class Inner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def get_write_buffer_size(self) -> int:
        return 10

    def is_closing(self) -> bool:
        return "close" in self.told


def corked() -> tuple[Inner, CorkedTransport]:
    inner = Inner()
    return inner, CorkedTransport(cast("asyncio.Transport", inner), asyncio.get_running_loop())


async def test_writes_of_one_turn_of_the_loop_are_one() -> None:
    inner, transport = corked()
    transport.write(b"a")
    transport.write(b"b")
    assert (inner.told, transport.get_write_buffer_size()) == ([], 12)
    await asyncio.sleep(0)
    transport.write(b"c")
    await asyncio.sleep(0)
    assert inner.told == [b"ab", b"c"]


async def test_a_close_comes_after_what_was_written() -> None:
    inner, transport = corked()
    transport.write(b"a")
    transport.close()
    await asyncio.sleep(0)
    assert inner.told == [b"a", "close"]
    assert transport.is_closing()


async def test_an_abort_drops_what_was_written() -> None:
    inner, transport = corked()
    transport.write(b"a")
    transport.abort()
    await asyncio.sleep(0)
    assert inner.told == ["abort"]


async def test_much_is_not_kept_back() -> None:
    inner, transport = corked()
    transport.write(b"a" * (MAX_KEPT_BYTES + 1))
    assert len(inner.told) == 1
