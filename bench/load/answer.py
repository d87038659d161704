"""Reads what a server sent: the events of a stream, or a whole answer, into text, times, counts and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

MESSAGE_LENGTH = 500


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None

    @property
    def has_output(self) -> bool:
        return bool(self.content or self.reasoning_content or self.reasoning or self.tool_calls)


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Event)


class Answer(msgspec.Struct):
    """An answer's content. ``error`` is its kind: ``stream_error`` (an error event), ``bad_stream`` (no JSON, or none of
    this API), ``incomplete`` (no [DONE], or nothing in it); ``message`` says more. ``texts`` are the pieces with text; ``model`` is
    who the server says answered.
    """

    arrivals: list[float] = msgspec.field(default_factory=list)
    texts: list[str] = msgspec.field(default_factory=list)
    pieces: tuple[int, ...] = ()
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    model: str | None = None
    error: str | None = None
    message: str | None = None


def read_stream(reads: Sequence[tuple[float, bytes]]) -> Answer:
    """The answer of a stream of server-sent events, from what was read when.

    A piece of text arrives when its event's line has been read whole. Text, reasoning and tool calls are output alike;
    events with none of them (a role, a finish reason) are no tokens.
    """
    answer = Answer()
    reported: list[int | None] = []  # by each piece's own usage, where a server counts on (continuous_usage_stats)
    is_done = False
    for time, data in _events(reads):
        if data == b"[DONE]":
            is_done = True
            continue
        try:
            event = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _failed(answer, "bad_stream", f"{error}: {data[:200]!r}")
        if event.error is not None:
            return _failed(answer, "stream_error", str(event.error))
        text, has_output = _output(event, answer)
        if has_output:
            answer.arrivals.append(time)
            answer.texts.append(text)
            reported.append(event.usage.completion_tokens if event.usage else None)
        _note_usage(event, answer)
    if not is_done or not (answer.arrivals or answer.output_tokens):
        found = f"{len(answer.arrivals)} pieces of text, usage {answer.output_tokens}, [DONE] {is_done}"
        return _failed(answer, "incomplete", f"an unfinished stream: {found}")
    answer.pieces = _tokens_of_pieces(answer, reported)
    return answer


def read_whole(data: bytes) -> Answer:
    """The answer that came in one piece."""
    answer = Answer()
    try:
        event = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _failed(answer, "bad_stream", f"{error}: {data[:200]!r}")
    if event.error is not None or not event.choices:
        return _failed(answer, "stream_error" if event.error is not None else "incomplete", repr(data[:200]))
    text, _ = _output(event, answer)
    answer.texts.append(text)
    _note_usage(event, answer)
    return answer


def _output(event: _Event, answer: Answer) -> tuple[str, bool]:
    """The text of an event's choices, and whether there is output in them that may be no text."""
    text, has_output = "", False
    answer.model = event.model or answer.model
    for choice in event.choices or ():
        message = choice.delta or choice.message
        text += choice.text or (message.content if message else None) or ""
        has_output = has_output or bool(choice.text) or (message is not None and message.has_output)
        answer.finish_reason = choice.finish_reason or answer.finish_reason
    return text, has_output


def _note_usage(event: _Event, answer: Answer) -> None:
    if (usage := event.usage) is None:
        return
    answer.prompt_tokens, answer.output_tokens = usage.prompt_tokens, usage.completion_tokens
    if usage.prompt_tokens_details is not None:
        answer.cached_tokens = usage.prompt_tokens_details.cached_tokens


def _tokens_of_pieces(answer: Answer, reported: Sequence[int | None]) -> tuple[int, ...]:
    """How many tokens came in each piece of text.

    As the pieces' own usage says, where every one has it. Otherwise each piece has one, and what the usage at the end
    counts beyond that is shared out by the length of their texts (largest remainder). A token without text (half of a
    character, the end of the sequence) is thereby counted with a neighbour; fewer tokens than pieces leave each its one.
    """
    count = len(answer.arrivals)
    if all(value is not None for value in reported):
        totals = [value or 0 for value in reported]
        steps = [now - before for before, now in zip([0, *totals], totals, strict=False)]
        if all(step > 0 for step in steps):
            return tuple(steps)
    surplus = (answer.output_tokens or 0) - count
    if surplus <= 0:
        return (1,) * count
    lengths = [max(len(text), 1) for text in answer.texts]
    shares = [surplus * length / sum(lengths) for length in lengths]
    tokens = [int(share) for share in shares]
    by_remainder = sorted(range(count), key=lambda index: tokens[index] - shares[index])
    for index in by_remainder[: surplus - sum(tokens)]:
        tokens[index] += 1
    return tuple(1 + more for more in tokens)


def _events(reads: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Each event's data with the time of the read that completed its line."""
    rest = b""
    for time, chunk in reads:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield time, line[5:].strip()
    if rest.startswith(b"data:"):
        yield reads[-1][0], rest[5:].strip()


def _failed(answer: Answer, kind: str, message: str) -> Answer:
    answer.error, answer.message = kind, message[:MESSAGE_LENGTH]
    return answer
