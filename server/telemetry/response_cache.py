"""What Prometheus reads of the response cache."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.cache.response_cache import CacheResult, ResponseCache

from .metrics import PREFIX


class ResponseCacheCollector(Collector):
    """Asks the cache when Prometheus does."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        store = self._cache.store
        requests = CounterMetricFamily(
            PREFIX + "response_cache_requests", "Requests by what the response cache did for them.", labels=["result"]
        )
        for result in CacheResult:
            requests.add_metric([result.value], self._cache.results[result])
        yield requests
        yield GaugeMetricFamily(PREFIX + "response_cache_bytes", "What the answers in it take.", store.nbytes)
        yield GaugeMetricFamily(PREFIX + "response_cache_answers", "Answers in it.", len(store))
        yield CounterMetricFamily(
            PREFIX + "response_cache_evictions", "Answers that gave way to newer ones.", store.evictions
        )
