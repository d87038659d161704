"""What a parser of tool calls is: text goes in as the model writes it, content and calls come out."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

_BASE62 = string.digits + string.ascii_letters


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """New text of the message's content."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call has begun. Calls of one answer are numbered from 0 in their order."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """New JSON text of call ``index``'s arguments, as the model wrote it. Only the call that started last gets any."""

    index: int
    text: str


ToolEvent = ContentDelta | CallStarted | ArgumentsDelta


class ToolParser(Protocol):
    """Tells the calls of one choice's text from its content.

    The joined content, the calls and their joined arguments do not depend on where the text is cut into pieces. No
    text is lost: what turns out not to be a call of an offered tool comes back as content, character for character.
    A call stands from the moment that its arguments begin to come out, for a stream can take nothing back: where it
    breaks after that, it keeps the arguments until there and the text from there on is content; where the text ends
    in it, it keeps what it has. The arguments of a call that did end are always a JSON object.
    """

    def push(self, text: str) -> list[ToolEvent]:
        """What is certain now that ``text`` has come."""
        ...

    def finish(self) -> list[ToolEvent]:
        """The rest, when no more text comes. The parser is not used again."""
        ...


CallId = Callable[[], str]


def openai_call_id() -> str:
    """A new id in OpenAI's form."""
    return "call_" + secrets.token_hex(12)


def mistral_call_id() -> str:
    """A new id in the form that Mistral's chat templates insist on: nine letters and digits."""
    return "".join(secrets.choice(_BASE62) for _ in range(9))
