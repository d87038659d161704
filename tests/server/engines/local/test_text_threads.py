"""Texts are tokenised beside the event loop; long ones give way to everything else, and to be counted waits for nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Encoding

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.text_side import TextSide, load_text_side
from pennyweight.server.engines.local.text_threads import SHORT_CHARACTERS, TINY_CHARACTERS, TINY_MESSAGES, TextThreads
from pennyweight.server.engines.local.tokenizer import Tokenizer
from pennyweight.server.types import ChatPrompt, Message, TextPrompt, Tool

TINY = TextPrompt(text="A few words.")
SHORT = TextPrompt(text="words " * TINY_CHARACTERS)
LONG = TextPrompt(text="words " * SHORT_CHARACTERS)


@pytest.fixture(scope="module")
def text(default_model: Path) -> TextSide:
    return load_text_side(default_model, EngineSettings())


@pytest.fixture
def threads() -> Iterator[TextThreads]:
    threads = TextThreads()
    yield threads
    threads.close()


async def test_short_and_long_texts_get_the_tokenizers_ids(text: TextSide, threads: TextThreads) -> None:
    for prompt in (TINY, SHORT, LONG):
        wanted = text.tokenizer.encode(prompt.text, add_special_tokens=True)
        assert await threads.encode(text, prompt) == wanted
        assert await threads.encode(text, prompt, at_most=len(wanted)) == wanted
    assert await threads.encode(text, LONG, at_most=100) is None
    for ids in ([1, 2, 3], [5] * 2 * SHORT_CHARACTERS):
        assert await threads.decode(text, ids) == text.tokenizer.decode(ids, skip_special_tokens=False)


async def test_only_tiny_prompts_are_tokenised_by_who_asks(
    text: TextSide, threads: TextThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    encode = Tokenizer._encoding

    def noting(self: Tokenizer, text: str, add_special_tokens: bool) -> Encoding:
        found.append(threading.current_thread() is threading.main_thread())
        return encode(self, text, add_special_tokens)

    monkeypatch.setattr(Tokenizer, "_encoding", noting)
    question = Message(role="user", content="Why?")
    for prompt in (
        TINY,
        ChatPrompt(messages=(question,) * TINY_MESSAGES),
        SHORT,
        ChatPrompt(messages=(question,) * (TINY_MESSAGES + 1)),
        ChatPrompt(messages=(question, Message(role="user", content=SHORT.text))),
        ChatPrompt(messages=(question,), tools=(Tool(name="f"),)),
    ):
        await threads.encode(text, prompt)
    assert found == [True, True, False, False, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a policy of their own on Linux alone")
async def test_only_long_texts_wait_for_an_idle_processor(
    text: TextSide, threads: TextThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    encode = Tokenizer._encoding

    def noting(self: Tokenizer, text: str, add_special_tokens: bool) -> Encoding:
        found.append(os.sched_getscheduler(threading.get_native_id()))
        return encode(self, text, add_special_tokens)

    monkeypatch.setattr(Tokenizer, "_encoding", noting)
    usual = os.sched_getscheduler(0)
    for prompt, at_most in ((SHORT, 100), (LONG, 100_000), (LONG, None), (SHORT, None)):
        await threads.encode(text, prompt, at_most=at_most)
    assert found == [usual, os.SCHED_IDLE, os.SCHED_IDLE, usual]


async def test_prompts_do_not_wait_for_what_is_only_counted(
    text: TextSide, threads: TextThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    encode = Tokenizer.encode_at_most

    def blocking(self: Tokenizer, limit: int | None, text: str, *, add_special_tokens: bool) -> Encoding | None:
        if limit is None:
            release.wait(30.0)
        return encode(self, limit, text, add_special_tokens=add_special_tokens)

    monkeypatch.setattr(Tokenizer, "encode_at_most", blocking)
    counting = [asyncio.create_task(threads.encode(text, LONG)) for _ in range(5)]
    try:
        async with asyncio.timeout(20.0):
            assert await threads.encode(text, LONG, at_most=1_000_000)
            assert await threads.encode(text, SHORT)
    finally:
        release.set()
    await asyncio.gather(*counting)
