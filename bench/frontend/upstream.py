"""A server that answers chat completions with constants: what gateways are put in front of, far faster than any of them.

``python -m pennyweight.bench.frontend.upstream --port N --step SECONDS`` speaks as much HTTP as gateways' clients do: requests
with a length, on connections that are kept. It gives as many tokens as ``max_tokens`` asks for, all at once, or for the
model whose answers are stepped one to every answer at each tick of one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import re
from typing import cast

import uvloop

from .names import AT_ONCE, PROMPT_TOKENS, STEPPED, WORDS

DEFAULT_TOKENS = 16

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": *(\d+)')
_STREAM = re.compile(rb'"stream": *true')
_STEPPED = re.compile(rb'"model": *"[^"]*%b"' % STEPPED.encode())
_HEAD = {"id": "chatcmpl-0", "created": 1_700_000_000, "model": AT_ONCE}


def _event(choices: list[object], usage: object = None) -> bytes:
    data = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, **({"usage": usage} if usage else {})}
    return _chunk(b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _delta(delta: dict[str, str], reason: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    + _delta({"role": "assistant", "content": ""})
)
TOKENS = tuple(_delta({"content": word}) for word in WORDS)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}


@functools.cache
def stream_end(tokens: int) -> bytes:
    """What ends a stream."""
    return _delta({}, "length") + _event([], _usage(tokens)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@functools.cache
def whole_answer(tokens: int) -> bytes:
    """An answer that isn't streamed."""
    message = {"role": "assistant", "content": "".join(itertools.islice(itertools.cycle(WORDS), tokens))}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    return _json({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(tokens)})


def _json(data: object) -> bytes:
    body = json.dumps(data).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


# What health checks and those who ask for the models get.
OTHER = _json({"object": "list", "data": [{"id": name, "object": "model"} for name in (AT_ONCE, STEPPED)]})


class Clock:
    """Gives one token to every stream at each tick."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._left: dict[asyncio.Transport, tuple[int, int]] = {}

    def add(self, transport: asyncio.Transport, tokens: int) -> None:
        """Begin a stream of so many tokens."""
        if not self._left:
            asyncio.get_running_loop().call_later(self._step, self._tick)
        self._left[transport] = tokens, tokens

    def drop(self, transport: asyncio.Transport) -> None:
        """Whoever listened has gone."""
        self._left.pop(transport, None)

    def _tick(self) -> None:
        going: dict[asyncio.Transport, tuple[int, int]] = {}
        for transport, (left, tokens) in self._left.items():
            if left > 1:
                transport.write(TOKENS[left % len(TOKENS)])
                going[transport] = left - 1, tokens
            else:
                transport.write(TOKENS[left % len(TOKENS)] + stream_end(tokens))
        self._left = going
        if going:
            asyncio.get_running_loop().call_later(self._step, self._tick)


class UpstreamProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transport: asyncio.Transport
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clock.drop(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            header = self._received[: end + 2]
            found = _LENGTH.search(header)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._received) < size:
                return
            body = self._received[end + 4 : size]
            self._received = self._received[size:]
            self._answer(header, body)

    def _answer(self, header: bytes, body: bytes) -> None:
        if not header.startswith(b"POST"):
            self._transport.write(OTHER)
            return
        asked = _MAX_TOKENS.search(body)
        tokens = int(asked[1]) if asked else DEFAULT_TOKENS
        if not _STREAM.search(body):
            self._transport.write(whole_answer(tokens))
        elif _STEPPED.search(body):
            self._transport.write(STREAM_HEAD)
            self._clock.add(self._transport, tokens)
        else:
            pieces = itertools.islice(itertools.cycle(TOKENS), tokens)
            self._transport.write(STREAM_HEAD + b"".join(pieces) + stream_end(tokens))


async def _serve(port: int, step: float) -> None:
    clock = Clock(step)
    server = await asyncio.get_running_loop().create_server(
        lambda: UpstreamProtocol(clock), "127.0.0.1", port, backlog=2048
    )
    await server.serve_forever()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step", type=float, required=True, help="seconds from one token of an answer to the next")
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.step))


if __name__ == "__main__":
    main()
