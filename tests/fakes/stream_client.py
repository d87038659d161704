"""A client of streamed chats that notes what it saw, for tests in which streams are broken off."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from fakes.api_client import ERROR_NAMES
from fakes.server_process import MODEL, ServerProcess

CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Write a very long story about the sea."}],
    "stream": True,
    "max_tokens": 1500,
    "ignore_eos": True,
}


@dataclass
class Outcome:
    """What a client of one stream saw: the status, the texts, the errors, whether [DONE] came, and when it ended."""

    status: int = 0
    chunks: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    is_done: bool = False
    ended: float = 0.0

    def check(self, *, code: str) -> None:
        """One error in OpenAI's form, and nothing that looks like a whole answer."""
        assert not self.is_done
        assert len(self.errors) == 1, self
        (error,) = self.errors
        assert error.keys() == ERROR_NAMES
        assert error["code"] == code
        assert self.status == (200 if self.chunks else 503)


async def read_stream(server: ServerProcess, outcome: Outcome, **changes: Any) -> Outcome:
    """Read a stream to its end; ``changes`` are to the request."""
    async with server.client.post("/v1/chat/completions", json=CHAT | changes) as answer:
        outcome.status = answer.status
        if answer.status != 200:
            outcome.errors.append((await answer.json())["error"])
        else:
            async for line in answer.content:
                data = line.strip().removeprefix(b"data: ")
                if data == b"[DONE]":
                    outcome.is_done = True
                elif data:
                    event = json.loads(data)
                    assert not outcome.errors, "nothing follows an error"
                    if "error" in event:
                        outcome.errors.append(event["error"])
                    else:
                        outcome.chunks += 1
    outcome.ended = time.monotonic()
    return outcome


async def until_started(outcomes: list[Outcome]) -> None:
    """Wait until every stream has brought something."""
    async with asyncio.timeout(60):
        while not all(outcome.chunks for outcome in outcomes):  # noqa: ASYNC110 (a count has no event)
            await asyncio.sleep(0.005)
