"""How a recorded request is sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.server.record.record import Record

from .rebuilt import rebuilt

DETERMINISM_HEADER = "x-pennyweight-deterministic"
# In a record's headers: what asked for an answer within a time. A replay waits.
_DEADLINES = ("x-pennyweight-timeout",)
_OF_STREAMS = ("stream", "stream_options")


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """A POST."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def model(self) -> str:
        """Whom it asks."""
        return str(self.body.get("model", ""))

    def replaced(self, *, model: str) -> Sending:
        """The same to another model."""
        return msgspec.structs.replace(self, body=self.body | {"model": model})


class NotSendable(Exception):
    """A record from which its request can't be made again; the message says what is missing."""


def generation(record: Record) -> Sending:
    """The request as it was received, past the response cache, with the seed that was drawn for it, in the mode that was honoured, and
    with token ids and logits' hashes in the answer. It is not streamed, and has no time limit. Raises NotSendable.
    """
    path, body = _received(record)
    body |= {"return_token_ids": True, "logits_hashes": True}
    if record.seed is not None:
        body["seed"] = record.seed
    headers = dict(record.headers)
    if record.determinism is not None and "deterministic" not in body:
        headers[DETERMINISM_HEADER] = record.determinism
    headers["cache-control"] = "no-store"
    # It counts before the header.
    body.pop("cache", None)
    return Sending(path=path, body=body, headers=_without_deadlines(headers))


def through_cache(record: Record) -> Sending:
    """The request as it was received, to the response cache too, so that it is known by the same key. Raises NotSendable."""
    path, body = _received(record)
    body["return_token_ids"] = True
    if record.request.hash_logits:
        body["logits_hashes"] = True
    return Sending(path=path, body=body, headers=_without_deadlines(record.headers))


def _received(record: Record) -> tuple[str, dict[str, Any]]:
    if "prompts" in record.redacted:
        raise NotSendable("its prompt was left out of the record")
    if record.received is None:
        path, body = rebuilt(record.request)
        if record.endpoint and path != record.endpoint:
            raise NotSendable(f"its body was left out of the record, and {record.endpoint} wants one")
        return path, body | _asked_of_router(record)
    try:
        body = msgspec.json.decode(record.received, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise NotSendable(f"the body that was received can't be read: {error}") from None
    prompts = body.get("prompt")
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        # One body may ask for several answers, whose records are one each; this one's is the first.
        body["prompt"] = prompts[0]
    for name in (*_OF_STREAMS, "timeout"):
        body.pop(name, None)
    return record.endpoint, body


def _asked_of_router(record: Record) -> dict[str, Any]:
    routing = record.request.routing
    if routing is None:
        return {}
    asked = {"service_tier": routing.tier, "max_cost": routing.max_cost}
    return {name: value for name, value in asked.items() if value is not None}


def _without_deadlines(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _DEADLINES}
