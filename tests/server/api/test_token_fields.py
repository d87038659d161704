"""Token ids and logits hashes in the answers of both endpoints, whole and streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fakes.api_client import Reply, ask
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.api.completions import create_completion
from pennyweight.server.types import Delta, FinishReason, Request

HASHES = [f"{number:016x}" for number in (1, 2**64 - 1, 3, 4)]
CHAT = {"messages": [{"role": "user", "content": "ab"}]}
PROMPTS = {create_chat_completion: (CHAT, list(b"user:ab\n")), create_completion: ({"prompt": "ab"}, [1, 97, 98])}


def four_tokens(request: Request) -> Sequence[Delta]:
    """Of which the second's text is held back, and the last has none."""
    raw = [bytes.fromhex(one) if request.hash_logits else b"" for one in HASHES]
    return [
        Delta(index=0, text="a", token_ids=(7,), logits_hashes=raw[0]),
        Delta(index=0, text="", token_ids=(8,), logits_hashes=raw[1]),
        Delta(index=0, text="bc", token_ids=(9, 10), logits_hashes=raw[2] + raw[3]),
        Delta(index=0, text="", finish_reason=FinishReason.STOP),
    ]


async def answer(endpoint: Any, **fields: Any) -> tuple[Reply, list[dict[str, Any]]]:
    """With what is said of the first choice, whole or in chunks."""
    reply = await ask(endpoint, {"model": "scripted", **PROMPTS[endpoint][0], **fields}, ScriptedEngine(four_tokens))
    assert reply.status == 200
    assert reply.warning is None
    return reply, reply.chunks() if fields.get("stream") else reply.json["choices"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", [create_chat_completion, create_completion])
async def test_every_token_is_told_with_its_hash(endpoint: Any, stream: bool) -> None:
    reply, choices = await answer(endpoint, return_token_ids=True, logits_hashes=True, stream=stream)
    assert [one for choice in choices for one in choice.get("token_ids", [])] == [7, 8, 9, 10]
    assert [one for choice in choices for one in choice.get("logits_hashes", [])] == HASHES
    if stream:
        assert all(("token_ids" in one) == ("logits_hashes" in one) for one in choices)
        assert (reply.text() if endpoint is create_completion else reply.content()) == "abc"
        places = [*reply.events, *choices]
    else:
        places = [reply.json, *choices]
    assert [one["prompt_token_ids"] for one in places if "prompt_token_ids" in one] == [PROMPTS[endpoint][1]]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", [create_chat_completion, create_completion])
async def test_each_is_told_only_where_it_is_asked_for(endpoint: Any, stream: bool) -> None:
    told = {"token_ids", "logits_hashes", "prompt_token_ids"}
    for fields, wanted in (
        ({}, set()),
        ({"logits_hashes": True}, {"logits_hashes"}),
        ({"return_token_ids": True}, {"token_ids", "prompt_token_ids"}),
    ):
        reply, choices = await answer(endpoint, stream=stream, **fields)
        objects = [*choices, *reply.events] if stream else [*choices, reply.json]
        assert {name for one in objects for name in one} & told == wanted
