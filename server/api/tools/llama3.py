"""Llama 3: the answer is ``{"name": "f", "parameters": {...}}`` from its start, or several of them with ``;`` between.

Llama 3.1 may write ``<|python_tag|>`` before, which engines usually leave out with the other special tokens. Nothing but
the JSON marks a call, so one that comes after other content is content.
"""

from __future__ import annotations

from collections.abc import Collection

from .answer import Answer, AnswerParser, Reading
from .base import CallId, openai_call_id
from .call_object import read_calls


class Llama3Parser(AnswerParser):
    """Parses the calls of Llama 3.1 and later."""

    def __init__(self, names: Collection[str], call_id: CallId = openai_call_id) -> None:
        answer = Answer(names, call_id)
        super().__init__(answer, _read(answer))


def _read(answer: Answer) -> Reading[None]:
    if (yield from answer.peek_past_space()) == "<" and not (yield from answer.read("<|python_tag|>")):
        answer.reject()
    else:
        yield from read_calls(answer, ";")
    yield from answer.read_rest()
