"""An upstream's error answers, translated: whose mistake it was, and whether to ask again."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from pennyweight.server.errors import (
    ContextLengthExceeded,
    InvalidConstraint,
    InvalidRequest,
    InvalidType,
    MissingParameter,
    Overloaded,
    UnsupportedParameter,
    UpstreamFailed,
)

from .failure import Failure, broken

MAX_SHOWN_MESSAGE = 1000
# What a client is told to wait where the upstream names no time.
RETRY_SECONDS = 1.0
_CONTEXT_LENGTH = "context_length_exceeded"
# Refusals of this server's own, where it is the upstream.
_KINDS: Mapping[str, type[InvalidRequest]] = {
    kind.code: kind for kind in (InvalidConstraint, InvalidType, MissingParameter, UnsupportedParameter)
}
# The statuses that the types and codes of an error object in a stream, which has no status of its own, stand for.
_STATUSES = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    _CONTEXT_LENGTH: 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
}

Hide = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Details:
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None

    def shown(self) -> str:
        return f": {self.message}" if self.message else "."


def failure_of_answer(status: int, headers: Mapping[str, str], body: bytes, hide: Hide) -> Failure:
    """The failure that an answer of another status than 200 stands for. ``hide`` takes secrets out of a text."""
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    return _failure(status, _details(decoded, hide), retry_after_seconds(headers))


def failure_of_event(event: object, hide: Hide) -> Failure:
    """The failure that an error object in a stream stands for."""
    details = _details(event, hide)
    status = next((_STATUSES[one] for one in (details.code, details.type) if one in _STATUSES), None)
    if isinstance(details.code, int) and 400 <= details.code < 500:
        status = details.code
    if status is None:
        return broken(f"The upstream failed{details.shown()}", reason="The upstream failed.")
    return _failure(status, details, None)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After, which may be a number or a date; None where there is none that can be read."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _failure(status: int, details: _Details, retry_after: float | None) -> Failure:
    if status in (400, 413, 422):
        kind = ContextLengthExceeded if _is_context_length(details) else _KINDS.get(str(details.code), InvalidRequest)
        message = details.message or f"The upstream refused the request ({status})."
        return Failure(kind(message, param=details.param))
    if status in (401, 403):
        return _misconfigured(status, "refuses this server's credentials", "check api_key_env or api_key_file")
    if status == 404:
        return _misconfigured(status, "knows no such model or path", "check base_url and model")
    if 300 <= status < 400:
        return _misconfigured(status, "redirects, which is not followed", "set base_url to the address it redirects to")
    if details.code == "insufficient_quota":
        return _misconfigured(status, "takes no more from this server's account", "check its quota and its bill")
    if status == 429:
        message = f"The upstream takes no more requests now{details.shown()}"
        error = Overloaded(message, retry_after=RETRY_SECONDS if retry_after is None else retry_after)
        return Failure(error, is_retryable=True, retry_after=retry_after)
    is_passing = status >= 500 or status in (408, 425)
    return Failure(
        UpstreamFailed(f"The upstream failed with status {status}{details.shown()}"),
        is_retryable=is_passing,
        is_fault=status >= 500,
        retry_after=retry_after,
        reason=f"The upstream failed with status {status}.",
    )


def _misconfigured(status: int, what: str, remedy: str) -> Failure:
    """Nothing of the upstream's own words: they may quote the key, and the client can do nothing about it."""
    return Failure(UpstreamFailed(f"The upstream {what} ({status}); for the operator: {remedy} of the upstream."))


def _is_context_length(details: _Details) -> bool:
    # Older vLLM servers have no code for it.
    return details.code == _CONTEXT_LENGTH or "maximum context length" in details.message


def _details(decoded: object, hide: Hide) -> _Details:
    """What an error object tells, in OpenAI's form, vLLM's older one without a frame, or FastAPI's."""
    found: Any = decoded
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, str):
        return _Details(message=_shown(found, hide))
    if not isinstance(found, dict):
        return _Details()
    message = found.get("message") or found.get("detail")
    code, kind, param = found.get("code"), found.get("type"), found.get("param")
    return _Details(
        message=_shown(message, hide) if isinstance(message, str) else "",
        type=kind if isinstance(kind, str) else None,
        code=code if isinstance(code, str | int) else None,
        param=hide(param[:MAX_SHOWN_MESSAGE]) if isinstance(param, str) else None,
    )


def _shown(message: str, hide: Hide) -> str:
    # Hidden before it is cut: half a key is a secret, too.
    return hide(message)[:MAX_SHOWN_MESSAGE]
