"""What the endpoints share, and how a call to an engine is carried through: admitted, read, run, cancelled, answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from .admission import Admission, read_body
from .api.exchange import Call, Endpoint, Observer, StreamAnswer
from .auth import tenant_of
from .config import Settings
from .deadline import deadline_of
from .disconnect import CancelledByDisconnect
from .engines.base import Engine
from .middleware import record_of, send_answer
from .router.engine import RouterEngine
from .telemetry.metrics import Metrics
from .telemetry.observer import CallObserver
from .telemetry.prompt_log import PromptLog
from .tenants import Tenants


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
            observer: Observer = CallObserver(
                record, gateway.metrics.models, arrival=record.arrival, on_started=ticket.started
            )
            if gateway.settings.log.prompts:
                observer = PromptLog(observer, gateway.logger, record.request_id)
            tenant = tenant_of(scope)
            call = Call(
                body=body,
                request_id=record.request_id,
                arrival=record.arrival,
                settings=gateway.settings,
                engines=gateway.engines,
                around=gateway.around,
                routes=gateway.routes,
                tenant=tenant,
                may_leave=gateway.tenants[tenant].may_name_models_that_leave,
                headers=scope["headers"],
                deadline=deadline,
                observer=observer,
            )
            async with call.leases, CancelledByDisconnect(scope, receive):
                await self._answer(call, send)

    async def _answer(self, call: Call, send: Send) -> None:
        answer = await self._endpoint(call)
        if not isinstance(answer, StreamAnswer):
            await send_answer(answer, send)
            return
        async with aclosing(answer.chunks) as chunks:
            await send({"type": "http.response.start", "status": 200, "headers": list(answer.headers)})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
