"""Beam search as it is asked for over HTTP, and what its answers say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.api_client import Reply, ask
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.api.completions import create_completion
from pennyweight.server.types import BeamScore, BeamSearch, Delta, FinishReason

USER = {"role": "user", "content": "Hi"}
CHAT = {"model": "scripted", "messages": [USER]}
TEXT = {"model": "scripted", "prompt": "Hi"}


async def search(engine: ScriptedEngine | None = None, **fields: Any) -> Reply:
    return await ask(create_chat_completion, CHAT | {"use_beam_search": True} | fields, engine)


def finds(*texts: str) -> ScriptedEngine:
    """An engine whose choices come whole, one after the other."""
    return ScriptedEngine(
        lambda request: [
            Delta(
                index=index,
                text=text,
                token_ids=(0, 1),
                finish_reason=FinishReason.STOP,
                beam_score=BeamScore(cumulative_logprob=-2.0 - index, score=-1.0 - index / 2),
            )
            for index, text in enumerate(texts)
        ]
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, BeamSearch(width=1)),
        ({"n": 4}, BeamSearch(width=4)),
        ({"n": 2, "best_of": 5}, BeamSearch(width=5)),
        (
            {"length_penalty": -0.5, "early_stopping": True},
            BeamSearch(width=1, length_penalty=-0.5, early_stopping=True),
        ),
        ({"n": 3, "early_stopping": "never"}, BeamSearch(width=3, early_stopping="never")),
        # What asks for nothing, or makes no difference to a search.
        (
            {"temperature": 0, "top_p": 1, "top_k": -1, "min_p": 0, "seed": 7, "repetition_penalty": 1},
            BeamSearch(width=1),
        ),
        ({"ignore_eos": True, "stop_token_ids": [5], "logprobs": True, "stream": True}, BeamSearch(width=1)),
    ],
)
async def test_a_search_is_understood(fields: dict[str, Any], wanted: BeamSearch) -> None:
    engine = ScriptedEngine()
    reply = await search(engine, **fields)
    assert reply.status == 200, reply.json
    assert engine.left[0].request.sampling.beam_search == wanted
    assert engine.left[0].request.sampling.n == fields.get("n", 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 1}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"min_tokens": 2}, "min_tokens"),
        ({"stop": "."}, "stop"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
        ({"n": 4, "best_of": 3}, "best_of"),
        ({"best_of": 17}, "best_of"),
        ({"n": 17}, "n"),
        ({"length_penalty": 9}, "length_penalty"),
        ({"early_stopping": "sometimes"}, "early_stopping"),
        ({"use_beam_search": 1}, "use_beam_search"),
        ({"use_beam_search": False, "length_penalty": 2}, "length_penalty"),
        ({"use_beam_search": False, "early_stopping": True}, "early_stopping"),
        ({"use_beam_search": False, "best_of": 2}, "best_of"),
    ],
)
async def test_what_a_search_cannot_honour_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    engine = ScriptedEngine()
    reply = await search(engine, **fields)
    assert reply.status == 400
    assert reply.error["param"] == param
    assert not engine.left


@pytest.mark.parametrize(
    ("fields", "param"), [({"echo": True, "logprobs": 1}, "echo"), ({"echo": True, "max_tokens": 0}, "max_tokens")]
)
async def test_a_search_tells_nothing_of_the_prompt(fields: dict[str, Any], param: str) -> None:
    reply = await ask(create_completion, TEXT | {"use_beam_search": True} | fields)
    assert reply.status == 400
    assert reply.error["param"] == param


async def test_choices_have_their_scores() -> None:
    reply = await search(finds("best", "second"), n=2)
    told = [(one["message"]["content"], one["cumulative_logprob"], one["score"]) for one in reply.json["choices"]]
    assert told == [("best", -2.0, -1.0), ("second", -3.0, -1.5)]
    completion = await ask(create_completion, TEXT | {"use_beam_search": True, "n": 2}, finds("best", "second"))
    assert [(one["text"], one["score"]) for one in completion.json["choices"]] == [("best", -1.0), ("second", -1.5)]


async def test_a_stream_ends_each_choice_with_its_score() -> None:
    reply = await search(finds("best", "second"), n=2, stream=True)
    assert [reply.content(index) for index in range(2)] == ["best", "second"]
    assert [reply.chunks(index)[-1]["score"] for index in range(2)] == [-1.0, -1.5]
    completion = await ask(create_completion, TEXT | {"use_beam_search": True, "n": 2, "stream": True}, finds("a", "b"))
    assert [completion.chunks(index)[-1]["cumulative_logprob"] for index in range(2)] == [-2.0, -3.0]


async def test_other_choices_have_none() -> None:
    reply = await ask(create_chat_completion, CHAT)
    assert "score" not in reply.json["choices"][0]
