"""Whether the same was decided: by the router, and by the response cache."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pennyweight.server.record.record import Record
from pennyweight.server.telemetry.route_header import route_header

from .answer import Answer

# A string of a structured field (RFC 9651, 3.3.3), and a parameter with one.
_STRING = r'"((?:[^"\\]|\\.)*)"'
_MODEL = re.compile(_STRING)
_PARAMETER = re.compile(rf";\s*([a-z*][a-z0-9_.*-]*)(?:={_STRING})?")
MODEL = "model"
# What the response cache did where a request took part in it.
TOOK_PART = ("miss", "hit", "shared")


def route_differences(record: Record, answer: Answer) -> Iterator[tuple[str, str | None, str | None]]:
    """What the routes differ in: name, recorded, replayed."""
    recorded = {} if record.route is None else read_route(route_header(record.route))
    replayed = {} if answer.route is None else read_route(answer.route)
    for name in (*recorded, *(name for name in replayed if name not in recorded)):
        if recorded.get(name) != replayed.get(name):
            yield f"route.{name}", recorded.get(name), replayed.get(name)


def cache_differences(record: Record, answer: Answer) -> Iterator[tuple[str, str | None, str | None]]:
    """What differs of the key that an answer is known by. Whether it is found there depends on what was asked before, and isn't compared."""
    recorded = None if record.cache_key is None else record.cache_key.hex()
    if recorded != answer.cache_key:
        yield "cache.key", recorded, answer.cache_key


def read_route(header: str) -> dict[str, str]:
    """The model and the parameters of an answer's route; one without a value is "yes". Empty for what is no route."""
    model = _MODEL.match(header)
    if model is None:
        return {}
    found = {MODEL: _unescaped(model[1])}
    for name, value in _PARAMETER.findall(header[model.end() :]):
        found[name] = _unescaped(value) if value else "yes"
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
