"""The recorder: which requests are recorded, and an engine around an engine that records them; outermost of all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

import msgspec

from pennyweight.server.config_record import RecordSettings
from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import EngineFailed
from pennyweight.server.types import Delta, Event, Request, Started

from .draft import Arrived, Draft
from .manifests import Manifests
from .telling import TellingEngine
from .writer import Writer

ALL = "*"
# Headers that can change an answer, beside those that the router's rules ask for.
_PREFIX = "x-pennyweight-"
_NAMES = frozenset({"cache-control"})
# Who has these can ask in another's name.
_SECRETS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})


class Recorder:
    """One for a server. All methods belong to the event loop's thread.

    ``unacknowledged`` counts whole answers that ended before their record was in a file.
    """

    def __init__(
        self, settings: RecordSettings, writer: Writer, manifests: Manifests, *, headers: Iterable[str] = ()
    ) -> None:
        """``headers`` are the names of those that routing rules ask for."""
        self.writer = writer
        self.unacknowledged = 0
        self._settings = settings
        self._manifests = manifests
        # None is for everybody.
        self._tenants = None if ALL in settings.tenants or not settings.tenants else frozenset(settings.tenants)
        self._headers = _NAMES | {name.lower() for name in headers} - _SECRETS
        self._below = int(settings.share * 2**64)

    def concerns(self, tenant: str) -> bool:
        """Whether any of a tenant's requests may be recorded."""
        return self._tenants is None or tenant in self._tenants

    def wants(self, tenant: str, request_id: str) -> bool:
        """Whether a tenant's request of that id is recorded; the same id gives the same answer."""
        if not self.concerns(tenant):
            return False
        if self._settings.share >= 1:
            return True
        drawn = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(drawn[:8], "big") < self._below

    def arrived(self, endpoint: str, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Arrived:
        """What is kept of an HTTP request, its headers without those that are nobody's business."""
        kept: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name.startswith(_PREFIX) or name in self._headers:
                kept[name] = f"{kept[name]}, {value}" if name in kept else value
        return Arrived(endpoint=endpoint, body=body, headers=kept)

    def telling(self, engine: Engine) -> Engine:
        """The engine, inside of every other around it, told what records need."""
        return TellingEngine(engine, hash_logits=self._settings.hash_logits)

    def recording(self, arrived: Arrived) -> Callable[[Engine], Engine]:
        """What puts the recorder around the engine of one HTTP request."""
        return lambda engine: RecordingEngine(engine, self, arrived)

    async def keep(self, draft: Draft) -> bool:
        """Have the record of a whole answer written; whether it was within the time that is waited for it."""
        is_written = await self._write(draft)
        if not is_written:
            self.unacknowledged += 1
        return is_written

    def drop_in(self, draft: Draft) -> None:
        """Have a record written that nobody waits for."""
        self.writer.submit(draft, self._manifest(draft))

    async def aclose(self) -> None:
        """Write what is still to be written."""
        await self.writer.aclose()

    async def _write(self, draft: Draft) -> bool:
        timeout = self._settings.write_timeout
        if self.writer.is_away or self.writer.busy_seconds() > timeout:
            # Who waited for a disk that is gone, or has been silent for as long already, would wait in vain.
            self.drop_in(draft)
            return False
        loop = asyncio.get_running_loop()
        written: asyncio.Future[bool] = loop.create_future()
        if not self.writer.submit(draft, self._manifest(draft), lambda is_written: _settle(written, is_written)):
            return False
        timer = loop.call_later(timeout, _settle, written, False)
        try:
            return await written
        finally:
            timer.cancel()

    def _manifest(self, draft: Draft) -> Manifest | None:
        return None if draft.started is None else self._manifests.of(draft.started)


class RecordingEngine(EngineAround):
    """``engine``, recorded: one HTTP request's, which is one for each of its prompts."""

    def __init__(self, engine: Engine, recorder: Recorder, arrived: Arrived) -> None:
        super().__init__(engine)
        self._recorder = recorder
        self._arrived = arrived

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        arrived = self._arrived
        if arrived.body is not None:
            # Once is enough: sixty-four prompts may be in a body of eight megabytes.
            self._arrived = msgspec.structs.replace(arrived, body=None)
        return self._recorded(request, Draft(request, arrived))

    async def _recorded(self, request: Request, draft: Draft) -> AsyncGenerator[Event]:
        asked = msgspec.structs.replace(request, is_recorded=True)
        is_kept = False
        try:
            async with aclosing(self._engine.generate(asked)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        draft.add(event)
                    elif isinstance(event, Started):
                        draft.start(event)
                    else:
                        draft.finish(event)
                        is_kept = True
                        event = msgspec.structs.replace(event, is_recorded=await self._recorder.keep(draft))
                    yield event
            if not is_kept:
                raise EngineFailed("The engine's answer ended before it was whole.")
        except BaseException as error:
            if not is_kept:
                draft.fail(error)
                self._recorder.drop_in(draft)
            raise


def _settle(written: asyncio.Future[bool], is_written: bool) -> None:
    if not written.done():
        written.set_result(is_written)
