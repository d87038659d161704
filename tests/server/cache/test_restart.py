"""The real server, ended and started again: what it was told before is on the disk by then, and given again by the next process."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from fakes.server_process import MODEL, ServerProcess, server_process

pytestmark = [pytest.mark.slow]

OWN = re.compile(rb'"id":"[^"]*"|"created":\d+')


def on_disk(directory: Path) -> bytes:
    """All that is in the store's files."""
    return b"".join(file.read_bytes() for file in directory.glob("answers.db*"))


async def ask(server: ServerProcess, text: str) -> tuple[str | None, bytes]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with server.client.post("/v1/chat/completions", json=body | options) as answer:
        return answer.headers.get("x-pennyweight-cache"), OWN.sub(b"", await answer.read())


async def test_what_was_answered_just_before_the_end_is_given_again_by_the_next_server(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("c3" * 32)
    cache = {
        "max_bytes": 1 << 20,
        "store": f"sqlite:///{tmp_path}/answers.db",
        "store_timeout": 5.0,
        "key_file": str(tmp_path / "key"),
    }
    async with server_process(response_cache=cache) as server:
        result, first = await ask(server, "What is a lighthouse?")
        assert result == "miss"
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
    assert b"lighthouse" not in on_disk(tmp_path)
    async with server_process(response_cache=cache) as server:
        assert await ask(server, "What is a lighthouse?") == ("hit", first)
        assert await server.metric("response_cache_hits_total", level="store") == 1
        assert await server.metric("generation_tokens_total") == 0
