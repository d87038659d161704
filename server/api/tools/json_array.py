"""A call that was required: the constraint makes the whole answer an array of calls."""

from __future__ import annotations

from collections.abc import Collection

from .answer import Answer, AnswerParser, Reading
from .base import CallId, openai_call_id
from .call_object import read_call_array


class JsonArrayParser(AnswerParser):
    """Parses ``[{"name": "f", "parameters": {...}}, ...]``, the form that ``required_constraint`` asks for."""

    def __init__(self, names: Collection[str], call_id: CallId = openai_call_id) -> None:
        answer = Answer(names, call_id)
        super().__init__(answer, _read(answer))


def _read(answer: Answer) -> Reading[None]:
    yield from read_call_array(answer)
    yield from answer.read_rest()
