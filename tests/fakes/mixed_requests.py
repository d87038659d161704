"""Requests of very different lengths over real text, and what an engine's core makes of them alone and together."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.tiny_models import Answer, run, step, submit

from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.engines.native.engine import NativeEngineCore


@dataclass(frozen=True)
class MixedRequest:
    name: str
    prompt: list[int]
    max_tokens: int


def mixed_requests(
    path: Path, rows: list[dict[str, Any]], count: int, *, prompt: tuple[int, int], output: tuple[int, int]
) -> list[MixedRequest]:
    """``count`` requests over joined prompts: lengths spread evenly on a log scale between the bounds, both met."""
    tokenizer = load_tokenizer(path)
    text = "\n\n".join(row["turns"][0] for row in rows)
    tokens = tokenizer.encode(text[: 12 * count * prompt[1]], add_special_tokens=False)
    lengths, outputs = _spread(*prompt, count), _spread(*output, count)
    random.Random(5).shuffle(outputs)
    source, requests = random.Random(6), []
    for number, (length, max_tokens) in enumerate(zip(lengths, outputs, strict=True)):
        start = source.randrange(len(tokens) - length)
        requests.append(MixedRequest(f"r{number}", tokens[start : start + length], max_tokens))
    source.shuffle(requests)
    return requests


def run_alone(core: NativeEngineCore, requests: Iterable[MixedRequest]) -> dict[str, list[int]]:
    """The answers by request, each computed before the next is submitted."""
    return {name: tokens for one in requests for name, tokens in run_together(core, [one]).items()}


def run_together(core: NativeEngineCore, requests: Iterable[MixedRequest]) -> dict[str, list[int]]:
    """The answers by request, all submitted at once."""
    for one in requests:
        submit(core, one.name, one.prompt, one.max_tokens)
    return {name: answer.token_ids for name, answer in run(core).items()}


def cancel_at_random(
    core: NativeEngineCore, requests: Iterable[MixedRequest], share: float, seed: int
) -> tuple[dict[str, list[int]], int]:
    """The answers of those that were left to end, and how many were cancelled: about ``share``, at any moment.

    Raises AssertionError unless each cancel frees at once what its sequence alone held, and nothing of it comes after.
    """
    source = random.Random(seed)
    waiting = list(requests)
    answers: dict[str, Answer] = {}
    cancelled: set[str] = set()
    doomed = {one.name for one in waiting if source.random() < share}
    while waiting or core.has_work:
        for one in waiting[: source.randint(0, 6)]:
            waiting.remove(one)
            submit(core, one.name, one.prompt, one.max_tokens)
        alive = sorted({one.request_id for one in core.scheduler.sequences()} & doomed)
        for name in alive:
            if source.random() < 0.3:
                core.abort(name)
                core.check_integrity()
                assert name not in {one.request_id for one in core.scheduler.sequences()}
                cancelled.add(name)
                answers.pop(name, None)
        step(core, answers)
        assert not cancelled & answers.keys()
    return {name: answer.token_ids for name, answer in answers.items()}, len(cancelled)


def assert_at_baseline(core: NativeEngineCore) -> None:
    """Raise AssertionError unless every block is free, or cached and free, and nothing is left over."""
    core.check_integrity()
    assert core.blocks.num_free == core.blocks.num_blocks
    assert core.blocks.usage == 0.0
    assert not core.has_work
    stats = core.stats()
    assert (stats.running, stats.waiting) == (0, 0)


def _spread(low: int, high: int, count: int) -> list[int]:
    step = math.log(high / low) / (count - 1)
    return [round(low * math.exp(step * number)) for number in range(count)]
