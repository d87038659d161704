"""What is logged: one line for each request and few others, as JSON (or for people) on stderr.

Never an API key; the text of prompts and answers only where ``LogSettings.prompts`` asks for it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from pennyweight.server.config import LogSettings
from pennyweight.server.errors import ConfigError

# A client's X-Request-Id is logged beside ours if it is printable ASCII of at most this many characters, else left out.
_CLIENT_REQUEST_ID = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
# More digits of a time in seconds than microseconds say nothing.
_SECONDS_DIGITS = 6


_encode_event = msgspec.json.Encoder().encode
_render_any = structlog.processors.JSONRenderer(ensure_ascii=True)


def valid_client_request_id(text: str) -> str | None:
    """A client's X-Request-Id if it can stand in a log: 1 to 128 printable ASCII characters, no space at its ends."""
    return text if _CLIENT_REQUEST_ID.fullmatch(text) else None


class RequestRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one HTTP request; filled in as it is answered, logged at its end. Times are in seconds.

    ``arrival`` is in seconds of ``time.monotonic()`` and is not logged. ``cache`` is what the response cache did, ``cache_key`` what it knows the (first) answer by, ``cache_age`` how old one is that is given again. ``route`` is how
    the router came to the model, ``recorded`` whether all of the answer's records were written in time (``true`` or ``false``), None where it has none, ``determinism`` the weakest mode that an answer was given in. ``status`` is None when the client went away before it had one; ``disconnected`` says that it went away at all.
    """

    request_id: str
    client_request_id: str | None
    method: str
    endpoint: str
    arrival: float = 0.0
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

    def fields(self) -> dict[str, object]:
        """What the log line says: all that is known."""
        found: dict[str, object] = msgspec.to_builtins(self)
        found.pop("arrival", None)
        if self.client_request_id is None:
            del found["client_request_id"]
        for name in ("cache_age", "ttft", "e2e"):
            if (seconds := getattr(self, name)) is not None:
                found[name] = round(seconds, _SECONDS_DIGITS)
        return found


def make_logger(settings: LogSettings, stream: TextIO | None = None) -> FilteringBoundLogger:
    """A logger of its own that writes to ``stream`` (stderr). Raises ConfigError for an unknown level or format."""
    output = stream or sys.stderr
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(output),
        processors=[_write_json] if settings.format == "json" else [*_common(), _renderer(settings, output)],
        wrapper_class=structlog.make_filtering_bound_logger(level_number(settings)),
        context_class=dict,
    ).bind()  # bound once: what wrap_logger gives binds itself anew for every line
    return logger


def adopt_standard_logging(settings: LogSettings) -> None:
    """Send what libraries log through the standard module (uvicorn, asyncio) the same way. For the process's owner."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_common()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings, sys.stderr),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level_number(settings))
    # Its lines on start and stop repeat ours; access lines are ours alone.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, level_number(settings)))


def level_number(settings: LogSettings) -> int:
    """The standard module's number of the level. Raises ConfigError."""
    levels: Mapping[str, int] = logging.getLevelNamesMapping()
    number = levels.get(settings.level.upper())
    if number is None:
        raise ConfigError(f"log.level is {settings.level!r}; it must be debug, info, warning, error or critical.")
    return number


def _common() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(settings: LogSettings, stream: TextIO) -> Processor:
    match settings.format:
        case "json":
            return _render_json
        case "console":
            return structlog.dev.ConsoleRenderer(colors=stream.isatty())
        case other:
            raise ConfigError(f"log.format is {other!r}; it must be json or console.")


def _write_json(logger: Any, method: str, event: EventDict) -> str:
    """What ``_common`` and ``_render_json`` make of an event, in one step: there is a line for each request."""
    event["level"] = "error" if method == "exception" else method
    event["time"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return _render_json(logger, method, event)


def _render_json(logger: Any, method: str, event: EventDict) -> str:
    """One line of ASCII JSON: nothing that a client sent can break the line or play tricks on a terminal."""
    event = structlog.processors.format_exc_info(logger, method, event)
    try:
        # Much faster than the standard library's encoder, which is for what this one can't encode or not in ASCII.
        line = _encode_event(event)
        if line.isascii():
            return line.decode()
    except (TypeError, ValueError, OverflowError):
        pass
    rendered = _render_any(logger, method, event)
    return rendered if isinstance(rendered, str) else rendered.decode()
