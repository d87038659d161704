"""One client's connection, guarded against clients that are slow, silent or too many; uvicorn trusts them.

uvicorn's own protocol waits forever for a header, for a header's end of any size, and for a reader of its answer. This one

- closes a connection on which no whole header has come within ``header_timeout`` of its first byte (or of its opening),
- answers 431 and closes when a header (or a trailer, or the framing of a chunked body) is over ``max_header_bytes``,
- answers 503 and closes at once when ``max_connections`` are open,
- breaks a connection whose client takes nothing of a full send buffer for ``write_timeout``, or leaves a finished answer
  unread for as long; what was being computed for it is then cancelled as after any disconnect,
- tells the request under way of a disconnect also when the client had already sent further requests behind it.

These answers are plain text: they come before there is a request that could have an answer in the API's shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pennyweight.server.config import HttpSettings

from .corked_transport import CorkedTransport

# The extension of a request's scope that is a function: what it is given is called once, when the client has gone. That saves
# who works on the request a second task that waits for ``http.disconnect``.
ON_DISCONNECT = "pennyweight.on_disconnect"
# Another one that tells whether the whole body is here, so that reading it never waits.
BODY_IS_WHOLE = "pennyweight.body_is_whole"


class WholeAnswer(NamedTuple):
    """A successful answer whose body is all there, a stream's too."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    is_stream: bool


# Given a request's scope and its whole body: the answer, if it is known without waiting for anything.
AnswerAtOnce = Callable[[Scope, bytes], WholeAnswer | None]


class _HeaderTooLarge(Exception):
    """Raised into the parser to end it; the client has been answered."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with the limits of ``HttpSettings``.

    What ``answer_at_once`` knows the answer of is never given to the application.
    """

    def __init__(
        self,
        http: HttpSettings,
        answer_at_once: AnswerAtOnce | None = None,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._http = http
        self._answer_at_once = answer_at_once
        # A request and its application, which nobody has told of it: until its body is here, nearly always with its header.
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._is_reading_header = False
        self._refused = False
        self._message_ended = False
        self._running: RequestResponseCycle | None = None
        self._on_disconnect: Callable[[], None] | None = None
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        # Bytes of the current message that are not accounted for by its body: see data_received.
        self._overhead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self._http.max_connections:
            self.transport = transport
            self._refuse(b"503 Service Unavailable", b"Too many connections.")
            return
        super().connection_made(CorkedTransport(transport, self.loop))  # type: ignore[arg-type]
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_write_timer()
        if self.flow is None:
            return  # refused at the door
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            if self._on_disconnect is not None:
                self._on_disconnect()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_idle = self._is_idle() and self._header_timer is None
        self._message_ended = False
        self._overhead += len(data)
        super().data_received(data)
        if self._held is not None:
            self._let_go(*self._held)
        # Afterwards, for nearly every header comes whole, and its timer would be stopped at once.
        if was_idle and self._is_idle() and not (self._message_ended or self._refused):
            self._start_header_timer()
        if self._overhead > self._http.max_header_bytes:
            self._refuse_header()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refuse(b"400 Bad Request", msg.encode("ascii"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = self._overhead = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_header(len(name) + len(value) + len(": \r\n"))

    def on_headers_complete(self) -> None:
        self._stop_header_timer()
        self._overhead = 0
        self._is_reading_header = True
        super().on_headers_complete()
        self._is_reading_header = False

    def on_body(self, body: bytes) -> None:
        # Chunks carry their own sizes (and extensions, and trailers): allow as much again as the body itself.
        self._overhead -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        super().on_message_complete()
        self._message_ended = True
        if self._is_idle():
            # The rest of a body that was answered before it had come: the connection is idle from here on.
            self._stop_header_timer()
            self._keep_alive()
        elif self._held is not None:
            cycle, app = self._held
            answer = self._answer_now(cycle)
            if answer is None:
                self._let_go(cycle, app)
            else:
                self._held = None
                self._send_at_once(cycle, answer)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._start_write_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_write_timer()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            # The last answer lies unread; an orderly close would wait for its reader.
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        self._on_disconnect = None
        extensions: dict[str, Any] = {
            ON_DISCONNECT: self._call_on_disconnect,
            BODY_IS_WHOLE: lambda: not cycle.more_body,
        }
        cycle.scope["extensions"] = extensions
        # One that has waited for the answer before it (pipelining) is started like any other.
        if self._answer_at_once is not None and self._is_reading_header and cycle.keep_alive:
            self._held = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _answer_now(self, cycle: RequestResponseCycle) -> WholeAnswer | None:
        if self._answer_at_once is None or self.flow.write_paused or self.transport.is_closing():
            return None
        return self._answer_at_once(cast("Scope", cycle.scope), bytes(cycle.body))

    def _let_go(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Have the application answer after all."""
        self._held = None
        super()._start_asgi_task(cycle, app)

    def _send_at_once(self, cycle: RequestResponseCycle, answer: WholeAnswer) -> None:
        headers = [*cycle.default_headers, *answer.headers]
        if answer.is_stream:
            headers.append((b"transfer-encoding", b"chunked"))
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body)
        else:
            headers.append((b"content-length", b"%d" % len(answer.body)))
            body = answer.body
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (lines, body))
        cycle.response_started = cycle.response_complete = True
        self.on_response_complete()

    def _call_on_disconnect(self, call: Callable[[], None]) -> None:
        self._on_disconnect = call

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._http.max_header_bytes:
            self._refuse_header()
            raise _HeaderTooLarge

    def _refuse_header(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", b"The request's header is too large.")

    def _refuse(self, status: bytes, message: bytes) -> None:
        """Close with a plain answer, unless another answer is on its way: then without one."""
        self._refused = True
        self._stop_header_timer()
        if self._running is not None and not self._running.response_complete:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, len(message), message)
            )
            self.transport.close()

    def _keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(self._http.header_timeout, self._header_timed_out)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_timed_out(self) -> None:
        self._header_timer = None
        self.transport.abort()

    def _start_write_timer(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._http.write_timeout, self.transport.abort)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
