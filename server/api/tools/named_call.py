"""A call of one named function: the constraint makes the whole answer its arguments."""

from __future__ import annotations

from functools import partial

from .answer import Answer, AnswerParser, Reading
from .base import CallId, openai_call_id


class NamedCallParser(AnswerParser):
    """Parses ``{...}``, the form that ``named_constraint`` asks for, as the arguments of ``name``."""

    def __init__(self, name: str, call_id: CallId = openai_call_id) -> None:
        answer = Answer((name,), call_id)
        super().__init__(answer, _read(answer, name))


def _read(answer: Answer, name: str) -> Reading[None]:
    if (yield from answer.peek_past_space()) == "{":
        if (yield from answer.read_json(partial(answer.give_arguments, answer.start_call(name)))):
            answer.end_call()
        else:
            answer.reject()
    yield from answer.read_rest()
