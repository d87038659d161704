"""What an engine's process chose, as events for whoever waits for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pennyweight.server.engines.local.answer import MAX_JOINED, Answer
from pennyweight.server.engines.local.messages import Logprobs, Progress
from pennyweight.server.engines.local.tokenizer import Tokenizer, load_tokenizer
from pennyweight.server.errors import EngineDead, EngineFailed, InvalidRequest
from pennyweight.server.types import (
    BeamScore,
    Delta,
    Finished,
    FinishReason,
    Request,
    SamplingParams,
    Started,
    TextPrompt,
)

TEXT = "Paris is the capital of France, as everybody knows."


@pytest.fixture(scope="module")
def tokenizer(default_model: Path) -> Tokenizer:
    return load_tokenizer(default_model)


def new_answer(tokenizer: Tokenizer, sampling: SamplingParams | None = None) -> Answer:
    request = Request(id="r", model="m", prompt=TextPrompt(text="Where?"), sampling=sampling or SamplingParams())
    return Answer(request, [1, 2, 3], tokenizer, fingerprint="fp", prompt_text="Where?")


def progress_of(token_ids: list[int], index: int = 0, *, is_whole: bool = True) -> list[Progress]:
    """A step for each token, the last of which ends the choice."""
    last = len(token_ids) - 1 if is_whole else None
    return [
        Progress("r", index, [token_id], finish_reason=FinishReason.LENGTH if place == last else None)
        for place, token_id in enumerate(token_ids)
    ]


async def test_each_step_is_an_event_for_one_who_keeps_up(tokenizer: Tokenizer) -> None:
    answer, token_ids = new_answer(tokenizer), tokenizer.encode(TEXT, add_special_tokens=False)
    events = []
    for progress in progress_of(token_ids):
        assert answer.advance(progress) is False
        events += await answer.next_events()
    started, *deltas, finished = events
    assert isinstance(started, Started)
    assert [delta.token_ids for delta in deltas if isinstance(delta, Delta)] == [(one,) for one in token_ids]
    assert isinstance(finished, Finished)
    assert finished.usage.completion_tokens == len(token_ids)


async def test_a_search_starts_at_once_and_brings_its_choices_whole(tokenizer: Tokenizer) -> None:
    answer, token_ids = new_answer(tokenizer, SamplingParams(n=2)), tokenizer.encode(TEXT, add_special_tokens=False)
    assert answer.advance(Progress("r", 0, [], cached_tokens=2, queue_seconds=0.5)) is False
    (started,) = await answer.next_events()
    assert isinstance(started, Started)
    assert started.queue_seconds == 0.5
    scores = [BeamScore(cumulative_logprob=-3.0, score=-1.0), BeamScore(cumulative_logprob=-4.0, score=-2.0)]
    for index, score in enumerate(scores):
        answer.advance(Progress("r", index, token_ids, finish_reason=FinishReason.LENGTH, beam_score=score))
    *deltas, finished = await answer.next_events()
    assert [(one.index, one.text, one.beam_score) for one in deltas if isinstance(one, Delta)] == [
        (0, TEXT, scores[0]),
        (1, TEXT, scores[1]),
    ]
    assert isinstance(finished, Finished)
    assert (finished.usage.cached_tokens, finished.usage.completion_tokens) == (2, 2 * len(token_ids))


async def test_what_waits_for_one_who_is_behind_is_joined(tokenizer: Tokenizer) -> None:
    answer, token_ids = new_answer(tokenizer), tokenizer.encode(TEXT, add_special_tokens=False)
    for progress in progress_of(token_ids):
        answer.advance(progress)
    started, delta, finished = await answer.next_events()
    assert isinstance(started, Started)
    assert delta == Delta(index=0, text=TEXT, token_ids=tuple(token_ids), finish_reason=FinishReason.LENGTH)
    assert isinstance(finished, Finished)


async def test_no_more_than_so_many_tokens_are_joined(tokenizer: Tokenizer) -> None:
    answer = new_answer(tokenizer)
    for progress in progress_of([500] * (2 * MAX_JOINED + 1), is_whole=False):
        answer.advance(progress)
    _, *deltas = await answer.next_events()
    assert [len(delta.token_ids) for delta in deltas if isinstance(delta, Delta)] == [MAX_JOINED, MAX_JOINED, 1]


async def test_choices_are_not_joined_with_each_other(tokenizer: Tokenizer) -> None:
    answer = new_answer(tokenizer, SamplingParams(n=2))
    token_ids = tokenizer.encode("one two", add_special_tokens=False)
    steps = zip(progress_of(token_ids), progress_of(token_ids, index=1), strict=True)
    for step in steps:
        for progress in step:
            answer.advance(progress)
    _, *deltas, _ = await answer.next_events()
    assert [delta.index for delta in deltas if isinstance(delta, Delta)] == [0, 1] * len(token_ids)


async def test_a_stop_string_drops_what_the_engine_is_ahead(tokenizer: Tokenizer) -> None:
    answer = new_answer(tokenizer, SamplingParams(stop=("capital",)))
    told = [answer.advance(one) for one in progress_of(tokenizer.encode(TEXT, add_special_tokens=False))]
    assert told.count(True) == 1
    assert answer.is_finished
    _, delta, finished = await answer.next_events()
    assert isinstance(delta, Delta)
    assert (delta.text, delta.finish_reason, delta.stop_reason) == ("Paris is the ", FinishReason.STOP, "capital")
    assert isinstance(finished, Finished)
    assert finished.usage.completion_tokens == told.index(True) + 1


async def test_an_error_comes_after_what_came_before_it(tokenizer: Tokenizer) -> None:
    answer = new_answer(tokenizer)
    (progress,) = progress_of([500], is_whole=False)
    waiting = asyncio.create_task(answer.next_events())
    await asyncio.sleep(0)
    answer.advance(progress)
    answer.fail(EngineDead("gone"))
    assert len(await waiting) == 2
    with pytest.raises(EngineDead):
        await answer.next_events()


@pytest.mark.parametrize(("param", "kind"), [("prompt", InvalidRequest), (None, EngineFailed)])
async def test_a_choice_that_fails_ends_the_answer(
    tokenizer: Tokenizer, param: str | None, kind: type[Exception]
) -> None:
    answer = new_answer(tokenizer)
    waiting = asyncio.create_task(answer.next_events())
    await asyncio.sleep(0)
    assert answer.advance(Progress("r", 0, [], error="no", param=param)) is False
    with pytest.raises(kind, match="no"):
        await waiting


async def test_the_prompts_logprobs_come_with_the_start(tokenizer: Tokenizer) -> None:
    answer = new_answer(tokenizer, SamplingParams(prompt_logprobs=1))
    prompt = [Logprobs(token_id, -0.5, [token_id], [-0.5]) for token_id in (2, 3)]
    answer.advance(Progress("r", 0, [500], prompt_logprobs=prompt))
    started, _ = await answer.next_events()
    assert isinstance(started, Started)
    assert started.prompt_logprobs is not None
    assert [one and one.token_id for one in started.prompt_logprobs] == [None, 2, 3]
