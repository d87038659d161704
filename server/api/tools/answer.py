"""An answer's text as a parser reads it: piece by piece, with what was read but not yet decided held back.

Parsers are written as generators that read straight on and wait, with a bare ``yield``, wherever the text that has
come so far ends. ``AnswerParser`` runs such a generator behind the ToolParser protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator
from typing import TypeVar

from .base import ArgumentsDelta, CallId, CallStarted, ContentDelta, ToolEvent
from .json_scanner import JsonScanner, ScanState

T = TypeVar("T")
Reading = Generator[None, None, T]

_SPACE = " \t\n\r"


class Answer:
    """The text, where reading is in it, and the events found so far.

    What is read is held until it is either given as content (``give_back``) or known to be a call's (``drop``).
    """

    def __init__(self, names: Collection[str], call_id: CallId) -> None:
        self.names = frozenset(names)
        self._call_id = call_id
        self._text = ""
        self._at = 0  # where reading is in the text
        self._mark = 0  # from where the text is held
        self._held: list[str] = []  # what is held of earlier pieces
        self._ended = False
        self._calls = 0
        self._is_in_call = False
        self._is_in_content = False
        self._content: list[str] = []  # given, and after all events
        self._events: list[ToolEvent] = []

    def add(self, text: str) -> None:
        """More text. Everything before it must have been read."""
        if self._mark < len(self._text):
            self._held.append(self._text[self._mark :])
        self._text, self._at, self._mark = text, 0, 0

    def end(self) -> None:
        """No more text comes."""
        self._ended = True

    def take_events(self) -> list[ToolEvent]:
        """The events since the last time."""
        self._end_content()
        events, self._events = self._events, []
        return events

    @property
    def is_over(self) -> bool:
        """Whether all text has been read and no more comes."""
        return self._ended and self._at == len(self._text)

    # What has been read becomes something.

    def drop(self) -> str:
        """Hold nothing any more; what was held."""
        self._held.append(self._text[self._mark : self._at])
        held = "".join(self._held)
        self._held.clear()
        self._mark = self._at
        return held

    def give_back(self) -> None:
        """What is held is content."""
        if text := self.drop():
            self._is_in_content = True
            self._content.append(text)

    def start_call(self, name: str) -> int:
        """What is held began a call; its index."""
        self.drop()
        self._end_content()
        index = self._calls
        self._calls += 1
        self._is_in_call = True
        self._events.append(CallStarted(index, self._call_id(), name))
        return index

    def give_arguments(self, index: int, text: str) -> None:
        """What is held is of a call's arguments, whose next text is ``text``."""
        self.drop()
        if text:
            self._events.append(ArgumentsDelta(index, text))

    def end_call(self) -> None:
        """What is held ended a call."""
        self.drop()
        self._is_in_call = self._is_in_content = False

    def reject(self) -> None:
        """What is held is no call, or does not go on as one: it is content.

        Where the text has ended in a call that has started, it was to end that call, and is dropped.
        """
        if self.is_over and self._is_in_call:
            self.drop()
        self._is_in_call, self._is_in_content = False, True
        self.give_back()

    def _end_content(self) -> None:
        if self._content:
            self._events.append(ContentDelta("".join(self._content)))
            self._content.clear()

    # Reading.

    def peek(self) -> Reading[str]:
        """The next character, not yet read; empty at the end."""
        while self._at == len(self._text) and not self._ended:
            yield
        return self._text[self._at : self._at + 1]

    def peek_past_space(self) -> Reading[str]:
        """The next character that is not JSON's white space, not yet read; empty at the end."""
        while (char := (yield from self.peek())) and char in _SPACE:
            self._at += 1
        return char

    def read(self, literal: str) -> Reading[bool]:
        """Whether the text goes on with ``literal``; reads as much of it as is there."""
        for wanted in literal:
            if (yield from self.peek()) != wanted:
                return False
            self._at += 1
        return True

    def read_past_space(self, literal: str) -> Reading[bool]:
        """The same after any white space."""
        yield from self.peek_past_space()
        return (yield from self.read(literal))

    def read_while(self, characters: Collection[str]) -> Reading[str]:
        """The characters up to the first that is not one of ``characters``."""
        found: list[str] = []
        while (char := (yield from self.peek())) and char in characters:
            found.append(char)
            self._at += 1
        return "".join(found)

    def read_json(self, sink: Callable[[str], None]) -> Reading[bool]:
        """Read one JSON value, giving its text to ``sink`` as it comes; whether it is whole."""
        scanner = JsonScanner()
        while (yield from self.peek()):
            start = self._at
            self._at = scanner.scan(self._text, start)
            if self._at > start:
                sink(self._text[start : self._at])
            if scanner.state is not ScanState.OPEN:
                break
        return scanner.state is ScanState.DONE

    def read_string(self) -> Reading[str | None]:
        """Read a JSON string, after any white space; its value, None where there is none."""
        if (yield from self.peek_past_space()) != '"':
            return None
        pieces: list[str] = []
        if not (yield from self.read_json(pieces.append)):
            return None
        value: str = json.loads("".join(pieces))
        return value

    def read_content(self, marker: str) -> Reading[bool]:
        """Give content until ``marker`` has been read, which is held; False at the end of the text.

        The marker's first character must not occur in it again. White space that is all there is between two calls,
        before the first or after the last is no content.
        """
        yield from self._pass_over_space()
        while char := (yield from self.peek()):
            if char == marker[0]:
                if (yield from self.read(marker)):
                    return True
            else:
                found = self._text.find(marker[0], self._at)
                self._at = len(self._text) if found < 0 else found
            self.give_back()
        self._end_text()
        return False

    def read_rest(self) -> Reading[None]:
        """Give all text that still comes as content, save white space that alone follows a call."""
        yield from self._pass_over_space()
        while (yield from self.peek()):
            self._at = len(self._text)
            self.give_back()
        self._end_text()

    def _pass_over_space(self) -> Reading[None]:
        if not self._is_in_content:
            yield from self.peek_past_space()

    def _end_text(self) -> None:
        if self._calls and not self._is_in_content:
            self.drop()
        else:
            self.give_back()


class AnswerParser:
    """A ToolParser that runs a reader of answers."""

    def __init__(self, answer: Answer, reading: Reading[None]) -> None:
        self._answer = answer
        self._reading = reading

    def push(self, text: str) -> list[ToolEvent]:
        """What is certain now that ``text`` has come."""
        self._answer.add(text)
        self._go_on()
        return self._answer.take_events()

    def finish(self) -> list[ToolEvent]:
        """The rest, when no more text comes."""
        self._answer.end()
        self._go_on()
        return self._answer.take_events()

    def _go_on(self) -> None:
        next(self._reading, None)
