"""One recorded request: what came in, what was decided, what was answered, and what all of that depended on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.server.types import BeamScore, Request, Route, ToolCall, Usage

# Goes up with every change that a reader of the older version would misread.
VERSION = 1


class RecordedChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One choice of the answer. ``logits_hashes`` are 8 bytes for each of ``token_ids``, as in ``types.Delta`` (base64 in JSON);
    ``logprobs`` are the natural-log probabilities of the chosen tokens. Both are empty where the engine doesn't tell. ``tool_calls`` are
    those that an upstream has read; of other engines they are in ``text``. ``beam_score`` is what beam search ranked it by."""

    index: int
    token_ids: tuple[int, ...] = ()
    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logits_hashes: bytes = b""
    logprobs: tuple[float, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    beam_score: BeamScore | None = None


class RecordedTimes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``queued`` is how long it waited for its first step, the others are when things were done, in seconds after the arrival; None for
    what is not known or was not."""

    queued: float | None = None
    first_token: float | None = None
    finished: float | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request and its answer. ``id`` is the request's own; ``arrival`` is in Unix seconds.

    ``endpoint`` and ``received`` are the HTTP request's path and body (its text, None where it was redacted, and with all but the first of
    several prompts in one body), ``headers`` those that can
    change the answer; keys are never among them. ``request`` is what the engines were given, with every default filled in that is
    the API's and its deadline in seconds after its arrival, and ``seed`` the one that its choices follow from, also where the request gave none (None where they follow from none: the most
    probable tokens). ``manifest`` names, by its
    hash (the fingerprint), a ``Manifest`` of the same file. ``inputs`` are what the router's and the caches' decisions were made from, by ``router``, ``cache`` and ``semantic``.
    ``error`` is the code of what it failed with, ``cancelled`` where the client left. ``redacted`` names what was left out, by the names of ``redaction``'s hooks.
    """

    version: int = VERSION
    id: str
    arrival: float
    tenant: str = ""
    endpoint: str
    received: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    request: Request
    prompt_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    model: str = ""
    manifest: str = ""
    determinism: str | None = None
    route: Route | None = None
    cache: str | None = None
    cache_key: bytes | None = None
    inputs: Mapping[str, Any] = msgspec.field(default_factory=dict)
    choices: tuple[RecordedChoice, ...] = ()
    usage: Usage | None = None
    times: RecordedTimes = msgspec.field(default_factory=RecordedTimes)
    error: str | None = None
    redacted: tuple[str, ...] = ()
