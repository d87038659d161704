"""What one key's requests leave behind in the real server is of no use to another's, neither its answers nor their keys and values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fakes.server_process import MODEL, ServerProcess, server_process

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PROMPT = "Tell me of the lighthouse keeper who counted every ship that passed. " * 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ServerProcess]:
    async with server_process(http={"api_keys": ["ann", "bob"]}, response_cache={"max_bytes": 1 << 20}) as found:
        yield found


async def ask(server: ServerProcess, key: str, text: str, **changes: Any) -> tuple[str | None, int, str]:
    """What the response cache did, the prompt's tokens from the prefix cache, and the answer."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0}
    headers = {"Authorization": f"Bearer {key}"}
    async with server.client.post("/v1/chat/completions", json=body | changes, headers=headers) as answer:
        assert answer.status == 200
        found = await answer.json()
    cached = found["usage"]["prompt_tokens_details"]["cached_tokens"]
    return answer.headers.get("x-pennyweight-cache"), cached, found["choices"][0]["message"]["content"]


async def test_keys_and_values_are_found_again_by_the_same_key_alone(server: ServerProcess) -> None:
    result, cached, first = await ask(server, "ann", PROMPT, cache=False)
    assert (result, cached) == ("bypass", 0)
    _, cached, again = await ask(server, "ann", PROMPT, cache=False)
    assert cached >= 128
    _, cached, other = await ask(server, "bob", PROMPT, cache=False)
    assert cached == 0
    assert first == again == other


async def test_answers_are_found_again_by_the_same_key_alone(server: ServerProcess) -> None:
    results = [await ask(server, key, "What is a lighthouse?") for key in ("ann", "ann", "bob", "bob")]
    assert [result for result, _, _ in results] == ["miss", "hit", "miss", "hit"]
    assert len({text for _, _, text in results}) == 1
