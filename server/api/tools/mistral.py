"""Mistral: ``[TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...]``, and newer models' ``[TOOL_CALLS]f[ARGS]{...}``.

The newer form comes once for each call; some models put ``[CALL_ID]`` and an id before ``[ARGS]``. The markers are special
tokens, which the engine must be asked not to skip.
"""

from __future__ import annotations

import string
from collections.abc import Collection
from functools import partial

from .answer import Answer, AnswerParser, Reading
from .base import CallId, mistral_call_id
from .call_object import read_call_array

_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits)
_NAME_CHARACTERS = _ID_CHARACTERS | frozenset("_.-")


class MistralParser(AnswerParser):
    """Parses the calls of Mistral's models, old and new."""

    def __init__(self, names: Collection[str], call_id: CallId = mistral_call_id) -> None:
        answer = Answer(names, call_id)
        super().__init__(answer, _read(answer))


def _read(answer: Answer) -> Reading[None]:
    while (yield from answer.read_content("[TOOL_CALLS]")):
        if (yield from answer.peek_past_space()) == "[":
            yield from read_call_array(answer)
        elif (yield from _read_named(answer)):
            answer.end_call()
        else:
            answer.reject()


def _read_named(answer: Answer) -> Reading[bool]:
    name = yield from answer.read_while(_NAME_CHARACTERS)
    if name not in answer.names or not (yield from answer.read("[")):
        return False
    if (yield from answer.peek()) == "C":
        if not (yield from answer.read("CALL_ID]")):
            return False
        yield from answer.read_while(_ID_CHARACTERS)
        if not (yield from answer.read("[")):
            return False
    if not (yield from answer.read("ARGS]")) or (yield from answer.peek_past_space()) != "{":
        return False
    return (yield from answer.read_json(partial(answer.give_arguments, answer.start_call(name))))
