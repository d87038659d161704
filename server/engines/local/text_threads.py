"""The threads in which texts are written, tokenised and detokenised: beside the event loop, and beside the engine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pennyweight.server.types import ChatPrompt, TextPrompt

from .text_side import TextSide
from .tokenizer import Tokenizer

_T = TypeVar("_T")

# Tokenising 100,000 characters takes tens of milliseconds: more threads than this only take turns with the engine's.
THREADS = 2
# A conversation of so many characters (and a few messages) is written and tokenised by who asks, in less time than the way to a
# thread and back would take it.
TINY_CHARACTERS = 1_024
TINY_MESSAGES = 8
# A text of more characters is tokenised in the time that nothing else on the machine wants. Where the engine computes on the
# same cores that is some hundredths, and what comes after it still takes the engine far longer, if it isn't too long at all.
SHORT_CHARACTERS = 16_384


class TextThreads:
    """Belongs to one event loop. Long texts have threads of their own, which give way to everything else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long-prompts", initializer=_give_way)
        # Megabytes may be sent to be counted: prompts that are to be answered don't queue behind them.
        self._unlimited = ThreadPoolExecutor(1, thread_name_prefix="token-counter", initializer=_give_way)

    async def run(self, function: Callable[[], _T]) -> _T:
        """What a function that won't take long gives, called in a thread."""
        return await _run_in(self._threads, function)

    async def decode(self, text: TextSide, token_ids: list[int]) -> str:
        """The text of any number of ids, special tokens in it."""
        return await _run_in(
            self._threads if len(token_ids) <= SHORT_CHARACTERS else self._unlimited,
            lambda: text.tokenizer.decode(token_ids, skip_special_tokens=False),
        )

    async def encode(
        self, text: TextSide, prompt: ChatPrompt | TextPrompt, *, at_most: int | None = None
    ) -> list[int] | None:
        """The prompt's token ids; None when they are certainly above ``at_most``. Raises InvalidRequest."""
        write, special = text.writer(prompt)
        tokenizer = text.tokenizer
        if _is_tiny(prompt):
            return tokenizer.encode(write(), add_special_tokens=special)

        def write_and_encode_what_is_short() -> tuple[str, list[int] | None]:
            written = write()
            short = len(written) <= SHORT_CHARACTERS
            return written, tokenizer.encode(written, add_special_tokens=special) if short else None

        written, ids = await self.run(write_and_encode_what_is_short)
        if ids is not None:
            return ids
        encoding = await _run_in(
            self._unlimited if at_most is None else self._long,
            lambda: tokenizer.encode_at_most(at_most, written, add_special_tokens=special),
        )
        # The list is not made in that thread: Python would stand still wherever it had to give way.
        return None if encoding is None else encoding.ids

    async def encode_all(
        self, text: TextSide, prompts: Sequence[TextPrompt], *, at_most: int
    ) -> list[list[int] | None]:
        """As ``encode`` for each of the prompts; short ones share the ways to a thread and back."""
        found: list[list[int] | None] = []
        for group in _groups(prompts):
            if len(group) == 1:
                found.append(await self.encode(text, group[0], at_most=at_most))
            else:
                found += await self.run(functools.partial(_encode_each, text.tokenizer, group))
        return found

    def close(self) -> None:
        """Take no more work, and don't wait for what is under way."""
        for threads in (self._threads, self._long, self._unlimited):
            threads.shutdown(wait=False, cancel_futures=True)


def _is_tiny(prompt: ChatPrompt | TextPrompt) -> bool:
    if isinstance(prompt, TextPrompt):
        return len(prompt.text) <= TINY_CHARACTERS
    return (
        len(prompt.messages) <= TINY_MESSAGES
        and not prompt.tools
        and not any(message.tool_calls for message in prompt.messages)
        and sum(len(message.content or "") for message in prompt.messages) <= TINY_CHARACTERS
    )


def _groups(prompts: Sequence[TextPrompt]) -> Iterator[list[TextPrompt]]:
    """The prompts in order, as many together as are short when they are joined."""
    group: list[TextPrompt] = []
    characters = 0
    for prompt in prompts:
        characters += len(prompt.text)
        if group and characters > SHORT_CHARACTERS:
            yield group
            group, characters = [], len(prompt.text)
        group.append(prompt)
    if group:
        yield group


def _encode_each(tokenizer: Tokenizer, prompts: Sequence[TextPrompt]) -> list[list[int]]:
    return [tokenizer.encode(prompt.text, add_special_tokens=prompt.add_special_tokens) for prompt in prompts]


async def _run_in(threads: ThreadPoolExecutor, function: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(threads, function)


def _give_way() -> None:
    """Leave the processor to all other threads. Only Linux has a policy for each."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
