"""What an operator sees of the response cache, and takes out of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pennyweight.server.errors import InvalidRequest, NotFound, Unavailable

from .label import Label, Selection
from .response_cache import Level, ResponseCache
from .result import CacheResult
from .semantic.cache import SemanticCache
from .store_base import StoreFailed

# Of tenants and models those with the most answers are named.
MOST_NAMED = 20


class CacheAdministration:
    """Raises NotFound where the server has no response cache, Unavailable when its store can't be reached."""

    def __init__(self, cache: ResponseCache | None, semantic: SemanticCache | None = None) -> None:
        self._given = cache
        self._semantic = semantic

    async def stats(self) -> dict[str, Any]:
        """Counts since the start, and what is in memory and in the store now."""
        cache = self._cache
        labels = cache.store.by_label()
        tenants, models = Counter[str](), Counter[str]()
        for label, count in labels.items():
            tenants[label.tenant] += count
            models[label.model] += count
        found: dict[str, Any] = {
            "requests": {result.value: cache.results[result] for result in CacheResult},
            "hits": {level.value: cache.hits[level] for level in Level},
            "memory": {
                "answers": len(cache.store),
                "bytes": cache.store.nbytes,
                "evictions": cache.store.evictions,
                "tenants": dict(tenants.most_common(MOST_NAMED)),
                "models": dict(models.most_common(MOST_NAMED)),
            },
            "store": None,
        }
        if (second := cache.second) is not None:
            found["store"] = {"away": second.is_away, "written": second.written, "errors": dict(second.errors)}
            try:
                stats = await second.stats()
                found["store"] |= {"answers": stats.answers, "bytes": stats.nbytes}
            except StoreFailed as error:
                found["store"] |= {"away": True, "reason": str(error)}
        return found

    async def purge(
        self, *, key: str | None = None, tenant: str | None = None, model: str | None = None, all_of_it: bool = False
    ) -> dict[str, Any]:
        """Forget the answers of which all that is given holds, the semantic cache's too; everything only where that is said."""
        if all_of_it == any(one is not None for one in (key, tenant, model)):
            raise InvalidRequest("Say what to purge: 'key', 'tenant' and 'model', of which all must hold, or 'all'.")
        selection = Selection(key=None if key is None else _key(key), tenant=tenant, model=model)
        semantic = None
        if self._semantic is not None:
            semantic = await self._semantic.purge(
                lambda entry: selection.has(entry.key, Label(entry.tenant, entry.model, entry.model))
            )
            if self._given is None:
                return {"purged": {"memory": 0, "store": None, "semantic": semantic}}
        try:
            memory, store = await self._cache.purge(selection)
        except StoreFailed as error:
            raise Unavailable(
                f"The memory was purged; the store was not, and what it has may be given again: {error}"
            ) from error
        return {"purged": {"memory": memory, "store": store, "semantic": semantic}}

    @property
    def _cache(self) -> ResponseCache:
        if self._given is None:
            raise NotFound("This server has no response cache (serve --response-cache).")
        return self._given


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InvalidRequest("'key' must be 64 hexadecimal digits, as 'cache_key' in the server's log.", param="key")
    return key
