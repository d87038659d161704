"""What is logged: one line for each request and few others, as JSON (or for people) on stderr.

Never an API key; the text of prompts and answers only where ``LogSettings.prompts`` asks for it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from pennyweight.server.config import LogSettings
from pennyweight.server.errors import ConfigError

_LEVELS: Mapping[str, int] = logging.getLevelNamesMapping()
_encode_event = msgspec.json.Encoder().encode
_render_any = structlog.processors.JSONRenderer(ensure_ascii=True)


class JsonLines(structlog.WriteLogger):
    """Writes lines of JSON. ``least`` is the number of the lowest level that is logged."""

    def __init__(self, stream: TextIO, least: int) -> None:
        super().__init__(stream)
        self._least = least

    def has_level(self, name: str) -> bool:
        """Whether lines of that level are to be written."""
        return _LEVELS[name.upper()] >= self._least


def make_logger(settings: LogSettings, stream: TextIO | None = None) -> FilteringBoundLogger:
    """A logger of its own that writes to ``stream`` (stderr). Raises ConfigError for an unknown level or format."""
    output, least = stream or sys.stderr, level_number(settings)
    is_json = settings.format == "json"
    logger: FilteringBoundLogger = structlog.wrap_logger(
        JsonLines(output, least) if is_json else structlog.WriteLogger(output),
        processors=[_write_json] if is_json else [*_common(), _renderer(settings, output)],
        wrapper_class=structlog.make_filtering_bound_logger(least),
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
    number = _LEVELS.get(settings.level.upper())
    if number is None:
        raise ConfigError(f"log.level is {settings.level!r}; it must be debug, info, warning, error or critical.")
    return number


def now() -> str:
    """The time of a line, in UTC (ISO 8601)."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def as_ascii(line: bytes) -> str:
    """A line of JSON with what isn't ASCII escaped: nothing that a client sent can play tricks on a terminal."""
    return line.decode() if line.isascii() else json.dumps(msgspec.json.decode(line), separators=(",", ":"))


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
    """What ``_common`` and ``_render_json`` make of an event, in one step."""
    event["level"] = "error" if method == "exception" else method
    event["time"] = now()
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
