"""Sends attacks over connections of their own, and judges what came back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass

from .requests import Attack

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
ERROR_NAMES = {"message", "type", "param", "code"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the first connection got until its end: every status in turn, and the bytes."""

    statuses: tuple[int, ...]
    received: bytes
    timed_out: bool = False


async def send(attack: Attack, host: str, port: int) -> Reply:
    """Do as the attack says. A server that refuses or breaks a connection is no error here."""
    replies = await asyncio.gather(*(_send_once(attack, host, port) for _ in range(attack.connections)))
    return replies[0]


async def _send_once(attack: Attack, host: str, port: int) -> Reply:
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 16)
    except OSError:
        return Reply((), b"")
    received = bytearray()
    timed_out = False
    try:
        writing = asyncio.create_task(_write(attack, writer))
        try:
            async with asyncio.timeout(attack.patience):
                if attack.reads:
                    with contextlib.suppress(ConnectionError):
                        while part := await reader.read(1 << 16):
                            received += part
                else:
                    await writing
                    await asyncio.sleep(attack.patience)
        except TimeoutError:
            timed_out = attack.reads
        finally:
            writing.cancel()
            await asyncio.wait((writing,))
    finally:
        writer.transport.abort()
    return Reply(tuple(int(status) for status in _STATUS.findall(received)), bytes(received), timed_out)


async def _write(attack: Attack, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in attack.pieces:
            writer.write(piece)
            await writer.drain()
            if attack.pause:
                await asyncio.sleep(attack.pause)


def complaint(attack: Attack, reply: Reply) -> str | None:
    """What is wrong with a reply, or None: a 5xx, a status that is not due, an error that is not in OpenAI's shape."""
    if any(status >= 500 for status in reply.statuses):
        return f"{attack.kind}: {reply.received[:300]!r}"
    if not attack.statuses or not attack.reads:
        return None
    if not reply.statuses:
        # A client of the connection's layer may be left without an answer; one with a proper request may not.
        return f"{attack.kind}: no answer" if attack.in_api else None
    if reply.statuses[0] not in attack.statuses:
        return (
            f"{attack.kind}: status {reply.statuses[0]} is not in {sorted(attack.statuses)}: {reply.received[:600]!r}"
        )
    if attack.in_api and reply.statuses[0] >= 400 and len(reply.statuses) == 1:
        return _complaint_of_shape(attack, reply)
    return None


def _complaint_of_shape(attack: Attack, reply: Reply) -> str | None:
    body = reply.received.partition(b"\r\n\r\n")[2]
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{attack.kind}: not an error in OpenAI's shape: {body[:300]!r}"
    if set(error) != ERROR_NAMES or not error["message"] or not error["code"] or len(body) > 2000:
        return f"{attack.kind}: not an error in OpenAI's shape: {body[:300]!r}"
    if attack.params is not None and reply.statuses[0] != 429 and error["param"] not in attack.params:
        return f"{attack.kind}: blames {error['param']!r}, not one of {attack.params}: {error['message'][:300]}"
    return None
