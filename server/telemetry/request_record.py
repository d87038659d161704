"""What became of each HTTP request, and its line in the log."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from structlog.typing import FilteringBoundLogger

from .logs import JsonLines, as_ascii, now

# A client's X-Request-Id is logged beside ours if it is printable ASCII of at most this many characters, else left out.
_CLIENT_REQUEST_ID = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
# More digits of a time in seconds than microseconds say nothing.
_SECONDS_DIGITS = 6

_encode = msgspec.json.Encoder().encode


def valid_client_request_id(text: str) -> str | None:
    """A client's X-Request-Id if it can stand in a log: 1 to 128 printable ASCII characters, no space at its ends."""
    return text if _CLIENT_REQUEST_ID.fullmatch(text) else None


class _Known(msgspec.Struct, kw_only=True):
    """What became of one HTTP request; filled in as it is answered, logged at its end. Times are in seconds.

    ``cache`` is what the response cache did, ``cache_key`` what it knows the (first) answer by, ``cache_age`` how old one is that is given again. ``route`` is how
    the router came to the model, ``recorded`` whether all of the answer's records were written in time (``true`` or ``false``), None where it has none, ``determinism`` the weakest mode that an answer was given in. ``status`` is None when the client went away before it had one; ``disconnected`` says that it went away at all.
    """

    request_id: str
    client_request_id: str | None = None
    method: str
    endpoint: str
    cache: str | None = None
    cache_key: str | None = None
    cache_age: float | None = None
    route: str | None = None
    recorded: str | None = None
    determinism: str | None = None
    model: str | None = None
    status: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    ttft: float | None = None
    e2e: float | None = None
    finish_reasons: list[str] = []
    error_code: str | None = None
    disconnected: bool = False


class RequestRecord(_Known, kw_only=True):
    """The record itself. ``arrival`` is in seconds of ``time.monotonic()`` and is not logged."""

    arrival: float = 0.0


class _Line(_Known, kw_only=True, omit_defaults=True, tag_field="event", tag="request"):
    """What is logged of a record: all that is known. ``level`` and ``time`` are left out where the logger says them."""

    level: str = ""
    time: str = ""


def request_log(logger: FilteringBoundLogger) -> Callable[[str, RequestRecord], None]:
    """What writes the line of a request at a level (``debug``, ``info`` or ``warning``) to where the logger writes."""
    lines = getattr(logger, "_logger", None)
    if isinstance(lines, JsonLines):
        # There is a line for each request, and most of what one takes is structlog's way from call to call.
        def write(level: str, record: RequestRecord) -> None:
            if lines.has_level(level):
                lines.msg(as_ascii(_encode(_line(record, level, now()))))

        return write

    def log(level: str, record: RequestRecord) -> None:
        fields = msgspec.to_builtins(_line(record))
        getattr(logger, level)(fields.pop("event"), **fields)

    return log


def _line(record: RequestRecord, level: str = "", time: str = "") -> _Line:
    return _Line(
        level=level,
        time=time,
        request_id=record.request_id,
        client_request_id=record.client_request_id,
        method=record.method,
        endpoint=record.endpoint,
        cache=record.cache,
        cache_key=record.cache_key,
        cache_age=_seconds(record.cache_age),
        route=record.route,
        recorded=record.recorded,
        determinism=record.determinism,
        model=record.model,
        status=record.status,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        cached_tokens=record.cached_tokens,
        ttft=_seconds(record.ttft),
        e2e=_seconds(record.e2e),
        finish_reasons=record.finish_reasons,
        error_code=record.error_code,
        disconnected=record.disconnected,
    )


def _seconds(found: float | None) -> float | None:
    return None if found is None else round(found, _SECONDS_DIGITS)
