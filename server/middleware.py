"""What every request passes before its endpoint: it gets an id, its line in the log, and an answer whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from .api.exchange import Answer, error_answer
from .auth import PUBLIC_PATHS
from .cache.result import CacheResult
from .errors import PennyweightError, RequestTimeout
from .request_headers import header_of
from .telemetry.metrics import Metrics
from .telemetry.observer import INTERNAL_ERROR
from .telemetry.request_record import RequestRecord, request_log, valid_client_request_id

REQUEST_ID_HEADER = b"x-request-id"
CACHE_HEADER = b"x-pennyweight-cache"
CACHE_KEY_HEADER = b"x-pennyweight-cache-key"
ROUTE_HEADER = b"x-pennyweight-route"
DETERMINISM_HEADER = b"x-pennyweight-deterministic"
# As RFC 5861 has it of such an answer; RFC 9111 keeps the field for what was written before it.
STALE_WARNING = (b"warning", b'110 - "Response is Stale"')
# The status under which a request is counted whose client went away before it had one; nginx's number.
CLIENT_CLOSED_REQUEST = 499


def record_of(scope: Scope) -> RequestRecord:
    """The record that AccountRequests made for this request."""
    record = scope["state"]["record"]
    assert isinstance(record, RequestRecord)
    return record


async def send_answer(answer: Answer, send: Send, *, close: bool = False) -> None:
    """Send a whole answer; ``close`` ends the connection after it."""
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class AccountRequests:
    """The outermost middleware: makes the request's id and record, and logs and counts it at its end.

    ``endpoint_of`` gives the route's path for a path as requested.
    """

    def __init__(
        self, app: ASGIApp, logger: FilteringBoundLogger, metrics: Metrics, endpoint_of: Callable[[str], str]
    ) -> None:
        self._app = app
        self._log_at = request_log(logger)
        self._metrics = metrics
        self._endpoint_of = endpoint_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = self.begin(scope)
        scope.setdefault("state", {})["record"] = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], *self.headers(record)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self.end(record)

    def begin(self, scope: Scope) -> RequestRecord:
        """A request has come."""
        return RequestRecord(
            request_id=os.urandom(16).hex(),
            client_request_id=valid_client_request_id(header_of(scope, REQUEST_ID_HEADER)),
            method=scope["method"],
            endpoint=self._endpoint_of(scope["path"]),
            arrival=time.monotonic(),
        )

    def headers(self, record: RequestRecord) -> list[tuple[bytes, bytes]]:
        """What the answer's headers say of it."""
        found = [(REQUEST_ID_HEADER, record.request_id.encode())]
        if record.cache is not None:
            found.append((CACHE_HEADER, record.cache.encode()))
            if record.cache == CacheResult.STALE:
                found.append(STALE_WARNING)
            if record.cache_key is not None:
                found.append((CACHE_KEY_HEADER, record.cache_key.encode()))
            if record.cache_age is not None:
                # Whole seconds (RFC 9111, 5.1).
                found.append((b"age", b"%d" % record.cache_age))
        if record.route is not None:
            found.append((ROUTE_HEADER, record.route.encode()))
        if record.determinism is not None:
            found.append((DETERMINISM_HEADER, record.determinism.encode()))
        return found

    def end(self, record: RequestRecord) -> None:
        """It has been answered, or its client has gone."""
        record.e2e = time.monotonic() - record.arrival
        status = record.status or CLIENT_CLOSED_REQUEST
        self._metrics.http_request(record.endpoint, record.method, status)
        self._log(record, status)

    def _log(self, record: RequestRecord, status: int) -> None:
        if record.endpoint in PUBLIC_PATHS:
            # Probes come every few seconds and say nothing, also with the 503 of a server that isn't ready yet.
            self._log_at("debug", record)
        else:
            self._log_at("warning" if status >= 500 else "info", record)


class AnswerErrors:
    """Turns what is raised into OpenAI's error object; what nobody foresaw is logged and answered by a plain 500.

    After the answer's start nothing can be answered any more: the server then breaks the connection.
    """

    def __init__(self, app: ASGIApp, logger: FilteringBoundLogger) -> None:
        self._app = app
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        received = False

        async def noting_receive() -> Message:
            nonlocal received
            received = True
            return await receive()

        try:
            await self._app(scope, noting_receive, send)
            return
        except ClientDisconnect:
            record.disconnected = True
            return
        except PennyweightError as error:
            answer = error_answer(error)
            record.error_code = error.code
            # A client that waits for "100 Continue" sends no body after this answer, or one: nobody can tell.
            expects = header_of(scope, b"expect").lower() == "100-continue"
            close = isinstance(error, RequestTimeout) or (expects and not received)
        except Exception:
            self._logger.exception("unexpected error", request_id=record.request_id, endpoint=record.endpoint)
            answer = error_answer(
                PennyweightError(
                    f"The server had an error while processing your request. Its log has more under {record.request_id}."
                )
            )
            record.error_code = INTERNAL_ERROR
            close = False
        if record.status is None:
            await send_answer(answer, send, close=close)
