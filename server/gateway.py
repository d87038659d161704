"""What the endpoints share, and how a call to an engine is carried through: admitted, read, run, cancelled, answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from .admission import Admission, read_body
from .api.cache_control import read_cache_control
from .api.exchange import Answer, Call, Endpoint, Headers, Observer, StreamAnswer
from .api.rendering import rendering_of
from .auth import tenant_of
from .cache.response_cache import ResponseCache
from .cache.result import CacheResult
from .config import Settings
from .deadline import deadline_of
from .disconnect import CancelledByDisconnect
from .engines.base import Engine
from .middleware import DETERMINISM_HEADER, record_of, send_answer
from .record.recorder import Recorder
from .request_headers import headers_of
from .router.engine import RouterEngine
from .shortcuts import Name, Shortcut, Shortcuts
from .telemetry.metrics import Metrics
from .telemetry.observer import CallObserver
from .telemetry.prompt_log import PromptLog
from .telemetry.request_record import RequestRecord
from .tenants import Tenants
from .types import NO_CACHE_CONTROL, CacheControl, FinishReason

# Whether an answer is recorded: true or false, or pending for a stream, whose last event says it.
RECORDED_HEADER = b"x-pennyweight-recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One server's parts. ``engines`` are by each name that a client may give as ``model``; ``around`` are engines around each of
    them, the outermost last. ``routes`` are by the names that leave the choice of the model to the router."""

    settings: Settings
    engines: Mapping[str, Engine]
    around: Sequence[Callable[[Engine], Engine]]
    routes: Mapping[str, RouterEngine]
    tenants: Tenants
    admission: Admission
    metrics: Metrics
    logger: FilteringBoundLogger
    version: str
    response_cache: ResponseCache | None = None
    shortcuts: Shortcuts | None = None
    recorder: Recorder | None = None


def cache_control_of(scope: Scope) -> CacheControl:
    """What a request's headers ask of the response cache. Raises InvalidRequest."""
    text = headers_of(scope, b"cache-control")
    return read_cache_control(text) if text else NO_CACHE_CONTROL


class EngineEndpoint:
    """An endpoint that calls engines, as an ASGI app. A client that goes away cancels its call at once."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint) -> None:
        self._gateway = gateway
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        record = record_of(scope)
        deadline = deadline_of(scope, record.arrival)
        with gateway.admission.admit() as ticket:
            body = await read_body(scope, receive, gateway.settings.http, gateway.settings.limits)
            tenant, control = tenant_of(scope), cache_control_of(scope)
            name, recording = None, None
            # Only the bytes of a body are compared: what the headers ask for must be nothing.
            is_plain = control is NO_CACHE_CONTROL and not headers_of(scope, DETERMINISM_HEADER)
            if gateway.recorder is not None and gateway.recorder.wants(tenant, record.request_id):
                arrived = gateway.recorder.arrived(record.endpoint, body, scope["headers"])
                recording = gateway.recorder.recording(arrived)
            # What is recorded is read each time.
            elif gateway.shortcuts is not None and is_plain:
                name = (record.endpoint, tenant, body)
                if (found := gateway.shortcuts.find(name)) is not None:
                    await self._give_again(*found, record, send)
                    return
            observer = CallObserver(
                record,
                gateway.metrics.models,
                arrival=record.arrival,
                on_started=ticket.started,
                has_cache=gateway.response_cache is not None,
            )
            told: Observer = observer
            if gateway.settings.log.prompts:
                told = PromptLog(observer, gateway.logger, record.request_id)
            call = Call(
                body=body,
                request_id=record.request_id,
                arrival=record.arrival,
                settings=gateway.settings,
                engines=gateway.engines,
                around=gateway.around,
                recording=recording,
                routes=gateway.routes,
                tenant=tenant,
                may_leave=gateway.tenants[tenant].may_name_models_that_leave,
                headers=scope["headers"],
                cache=control,
                deadline=deadline,
                observer=told,
            )
            async with CancelledByDisconnect(scope, receive):
                await self._answer(call, send, name, observer, record)

    async def _answer(
        self, call: Call, send: Send, name: Name | None, observer: CallObserver, record: RequestRecord
    ) -> None:
        """``name`` is what the request is known by among the shortcuts, if it is to be."""
        answer = await self._endpoint(call)
        if not isinstance(answer, StreamAnswer):
            if record.recorded is not None:
                told = (RECORDED_HEADER, record.recorded.encode())
                answer = msgspec.structs.replace(answer, headers=(*answer.headers, told))
            await send_answer(answer, send)
            self._keep(name, observer, record, [answer.body], answer.headers, is_stream=False)
            return
        sent: list[bytes] = []
        headers = answer.headers
        if call.recording is not None:
            headers = (*headers, (RECORDED_HEADER, b"pending"))
        async with aclosing(answer.chunks) as chunks:
            await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if name is not None and record.cache == CacheResult.HIT:
                    sent.append(chunk)
        await send({"type": "http.response.body", "body": b""})
        self._keep(name, observer, record, sent, answer.headers, is_stream=True)

    def _keep(
        self,
        name: Name | None,
        observer: CallObserver,
        record: RequestRecord,
        sent: list[bytes],
        headers: Headers,
        *,
        is_stream: bool,
    ) -> None:
        """Remember what was sent for a hit."""
        shortcuts, request, usage, key = self._gateway.shortcuts, observer.request, observer.usage, record.cache_key
        if name is None or shortcuts is None or record.cache != CacheResult.HIT:
            return
        if request is None or usage is None or key is None:
            return
        rendering = rendering_of(b"".join(sent), record.request_id, headers, is_stream=is_stream)
        if rendering is not None:
            reasons = tuple(map(FinishReason, record.finish_reasons))
            shortcuts.keep(name, request, rendering, usage, reasons, key, determinism=record.determinism)

    async def _give_again(self, shortcut: Shortcut, age: float, record: RequestRecord, send: Send) -> None:
        rendering, body = shortcut.rendering, shortcut.give(age, record, self._gateway.metrics)
        if not rendering.is_stream:
            await send_answer(Answer(body=body, headers=rendering.headers), send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(rendering.headers)})
        await send({"type": "http.response.body", "body": body})
