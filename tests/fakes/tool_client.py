"""A client of tool calls: it joins what a parser gives, as an SDK joins a stream, and checks its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pennyweight.server.api.tools.base import ArgumentsDelta, CallStarted, ContentDelta, ToolEvent, ToolParser


@dataclass(frozen=True)
class Outcome:
    """An answer as a client has it that read the whole stream: content, and each call's name and arguments."""

    content: str
    calls: tuple[tuple[str, str], ...] = ()


def join(events: Iterable[ToolEvent]) -> Outcome:
    """The joined events; fails where they are empty or out of order."""
    content: list[str] = []
    calls: list[tuple[str, list[str]]] = []
    ids: set[str] = set()
    for event in events:
        match event:
            case ContentDelta(text):
                assert text
                content.append(text)
            case CallStarted(index, id, name):
                assert index == len(calls)
                assert id not in ids
                ids.add(id)
                calls.append((name, []))
            case ArgumentsDelta(index, text):
                assert index == len(calls) - 1
                assert text
                calls[index][1].append(text)
    return Outcome("".join(content), tuple((name, "".join(pieces)) for name, pieces in calls))


def parse_pieces(parser: ToolParser, pieces: Iterable[str]) -> Outcome:
    """What a parser makes of text that comes in ``pieces``."""
    events = [event for piece in pieces for event in parser.push(piece)]
    return join([*events, *parser.finish()])


def parse(make: Callable[[], ToolParser], text: str) -> Outcome:
    """What parsers make of a text that comes whole; fails if it is something else in single characters."""
    whole = parse_pieces(make(), [text])
    assert parse_pieces(make(), text) == whole
    return whole
