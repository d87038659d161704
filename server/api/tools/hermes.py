"""Hermes and Qwen: ``<tool_call>\\n{"name": "f", "arguments": {...}}\\n</tool_call>``, any number among the content."""

from __future__ import annotations

from collections.abc import Collection

from .answer import Answer, AnswerParser, Reading
from .base import CallId, openai_call_id
from .call_object import read_call_object


class HermesParser(AnswerParser):
    """Parses the calls of models trained on the Hermes format."""

    def __init__(self, names: Collection[str], call_id: CallId = openai_call_id) -> None:
        answer = Answer(names, call_id)
        super().__init__(answer, _read(answer))


def _read(answer: Answer) -> Reading[None]:
    while (yield from answer.read_content("<tool_call>")):
        if (yield from read_call_object(answer)) and (yield from answer.read_past_space("</tool_call>")):
            answer.end_call()
        else:
            answer.reject()
