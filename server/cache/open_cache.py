"""The response cache that is set: its memory, and the store that its URL names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from pennyweight.server.config import ResponseCacheSettings
from pennyweight.server.errors import ConfigError

from .response_cache import ResponseCache
from .sealing import open_sealer
from .second_level import SecondLevel
from .store_base import Store

SQLITE = "sqlite:///"
REDIS_SCHEMES = ("redis", "rediss", "unix")


def open_cache(
    settings: ResponseCacheSettings,
    logger: FilteringBoundLogger,
    on_hit: Callable[[float], None] = lambda age: None,
    stale: float = 0.0,
) -> ResponseCache:
    """Answers are kept for ``stale`` seconds beyond their time. Raises ConfigError for a store or a key that can't be used; one that is only
    away is waited for."""
    second = None
    if settings.store is not None:
        sealer = open_sealer(settings.key_file)
        second = SecondLevel(
            open_store(settings.store, settings.store_max_bytes),
            sealer,
            logger,
            ttl=settings.ttl,
            timeout=settings.store_timeout,
            stale=stale,
        )
    return ResponseCache(settings, second, on_hit=on_hit, stale=stale)


def open_store(url: str, max_bytes: int) -> Store:
    """The store of a URL: ``sqlite:///relative/path``, ``sqlite:////absolute/path``, or ``redis://host``. Raises ConfigError."""
    if url.startswith(SQLITE) and (path := url.removeprefix(SQLITE)) and path != ":memory:":
        from .sqlite_store import SqliteStore

        return SqliteStore(Path(path).expanduser(), max_bytes)
    if urlsplit(url).scheme in REDIS_SCHEMES:
        from .redis_store import RedisStore

        return RedisStore(url)
    raise ConfigError(
        "response_cache.store must be sqlite:///PATH (sqlite:////PATH for an absolute one) or redis://HOST"
    )


def shown_store(url: str) -> str:
    """A store's URL without what it may have of secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(hidden)"
    return f"{parts.scheme}://{'…@' if '@' in parts.netloc else ''}{host}{parts.path}"
