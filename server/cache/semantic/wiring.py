"""The semantic cache that settings ask for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from pennyweight.server.config import SemanticCacheSettings
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import ConfigError

from .bound import Bound
from .cache import SemanticCache
from .embedder import Embedder
from .entries import Entries
from .index import MemoryIndex, VectorIndex
from .judge import make_judge
from .versions import VersionedIndex

ALL = "*"


def make_semantic_cache(
    settings: SemanticCacheSettings,
    engines: Mapping[str, Engine],
    *,
    takes_part: Callable[[str], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SemanticCache:
    """The cache; ``takes_part`` says which tenants do, by default those whom the settings name. Raises ConfigError."""
    if settings.embedder is None:
        raise ConfigError(
            "semantic_cache.embedder is not set; it must be one of the server's models, that makes embeddings"
        )
    if settings.embedder not in engines:
        raise ConfigError(
            f"semantic_cache.embedder: there is no model {settings.embedder}; there are {', '.join(engines)}"
        )
    bound = Bound(
        share=settings.bound,
        over=settings.bound_over,
        audit_share=settings.audit_share,
        strict=settings.strict and settings.bound_over == "requests",
    )
    names = frozenset(settings.tenants)
    return SemanticCache(
        Entries(settings.max_entries, settings.max_bytes, settings.ttl, clock),
        VersionedIndex(Embedder(engines, settings.embedder, settings.embed_timeout), _index_maker(settings.index)),
        make_judge(settings.judge, engines),
        bound,
        takes_part=takes_part or (lambda tenant: ALL in names or tenant in names),
        least_cosine=settings.least_cosine,
    )


def _index_maker(setting: str) -> Callable[[str], Awaitable[VectorIndex]]:
    if setting == "memory":
        return _memory_index
    from .postgres import PostgresIndex

    return lambda version: PostgresIndex.open(setting, version)


async def _memory_index(version: str) -> VectorIndex:
    return MemoryIndex()
