"""The same bytes asked again: from a request's body straight to the bytes of its kept answer, without reading either.

The same body of the same tenant to the same path makes the same request, limits and warnings included, for settings don't change
while a server runs. So what was sent for a hit may be sent again, as long as the answer itself is kept and the model's name means the
same version. Neither is assumed: the answer is the one in the cache's memory, found under the key that the request was seen to have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from .api.rendering import Rendering
from .cache.key import request_key
from .cache.response_cache import Level, ResponseCache
from .engines.base import Capabilities, Engine
from .errors import PennyweightError
from .telemetry.metrics import Metrics
from .telemetry.observer import note_given
from .telemetry.request_record import RequestRecord
from .types import FinishReason, Request, Usage

# A request, or an answer, whose bytes are more is read, or put together, anew each time.
MOST_BYTES = 64 << 10
# A request's path, tenant and bytes. Not a digest of them: comparing all is quicker, and can't be wrong.
Name = tuple[str, str, bytes]
# What one takes in memory beside its bytes.
OVERHEAD = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """What is sent, and what is told of it in log and metrics. ``version`` is of ``engine``, which ``model`` meant."""

    rendering: Rendering
    engine: Engine
    version: tuple[str, str, str]
    key: str
    model: str
    usage: Usage
    finish_reasons: tuple[FinishReason, ...]
    determinism: str | None = None

    def give(self, age: float, record: RequestRecord, metrics: Metrics) -> bytes:
        """The body of the answer, ``age`` seconds old, to the request of that record; told in the record and counted."""
        record.model, record.determinism = self.model, self.determinism
        bound = metrics.models[self.model]
        note_given(record, bound, self.usage, self.finish_reasons, age=age, key=self.key)
        return self.rendering.body(record.request_id, int(time.time()))


class Shortcuts:
    """Kept in the cache's memory, each with its answer, and gone with it. All methods belong to the event loop's thread."""

    def __init__(self, cache: ResponseCache, engines: Mapping[str, Engine]) -> None:
        self._cache = cache
        self._engines = engines

    def find(self, name: Name) -> tuple[Shortcut, float] | None:
        """The shortcut for a request, and its answer's age in seconds; counted as a hit."""
        found = self._cache.store.attached(name)
        if found is None:
            return None
        shortcut, age, key = found
        assert isinstance(shortcut, Shortcut)
        engine = self._engines.get(shortcut.model)
        if engine is not shortcut.engine or _version(engine.capabilities()) != shortcut.version:
            return None
        self._cache.count_hit(Level.MEMORY, age)
        if self._cache.second is not None:
            self._cache.second.touch(key)
        return shortcut, age

    def keep(
        self,
        name: Name,
        request: Request,
        rendering: Rendering,
        usage: Usage,
        finish_reasons: tuple[FinishReason, ...],
        key: str,
        *,
        determinism: str | None = None,
    ) -> None:
        """Have the same bytes find the answer that was given to ``request`` under ``key``, if the request alone led there."""
        engine = self._engines.get(request.model)
        if engine is None or max(len(name[2]), rendering.nbytes) > MOST_BYTES:
            return
        try:
            capabilities = engine.capabilities()
        except PennyweightError:
            return
        # Else something between here and the cache had decided where it goes, and may decide otherwise the next time.
        if request_key(request, capabilities).hex() != key:
            return
        shortcut = Shortcut(
            rendering=rendering,
            engine=engine,
            version=_version(capabilities),
            key=key,
            model=request.model,
            usage=usage,
            finish_reasons=finish_reasons,
            determinism=determinism,
        )
        self._cache.store.attach(bytes.fromhex(key), name, shortcut, len(name[2]) + rendering.nbytes + OVERHEAD)


def _version(capabilities: Capabilities) -> tuple[str, str, str]:
    return capabilities.engine, capabilities.model, capabilities.fingerprint
