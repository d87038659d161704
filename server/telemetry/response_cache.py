"""What Prometheus reads of the response cache."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.cache.response_cache import Level, ResponseCache
from pennyweight.server.cache.result import CacheResult
from pennyweight.server.cache.second_level import ERRORS, SecondLevel

from .instruments import Family, Histogram
from .metrics import PREFIX

_CACHE = PREFIX + "response_cache_"
# Seconds, from one to a week.
_AGES = (1, 10, 60, 300, 900, 3600, 14_400, 86_400, 604_800)


class AgeHistogram:
    """How old the answers are that are given again, in seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        family = Family(_CACHE + "hit_age_seconds", "Age of answers given again.", (), lambda: Histogram(_AGES))
        registry.register(family)
        self.observe = family.labels().observe


class ResponseCacheCollector(Collector):
    """Asks the cache when Prometheus does."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        store = self._cache.store
        requests = CounterMetricFamily(
            _CACHE + "requests", "Requests by what the response cache did for them.", labels=["result"]
        )
        for result in CacheResult:
            requests.add_metric([result.value], self._cache.results[result])
        yield requests
        hits = CounterMetricFamily(_CACHE + "hits", "Answers given again, by where they were found.", labels=["level"])
        for level in Level:
            hits.add_metric([level.value], self._cache.hits[level])
        yield hits
        yield GaugeMetricFamily(_CACHE + "bytes", "What the answers in memory take.", store.nbytes)
        yield GaugeMetricFamily(_CACHE + "answers", "Answers in memory.", len(store))
        yield CounterMetricFamily(
            _CACHE + "evictions", "Answers in memory that gave way to newer ones.", store.evictions
        )
        if self._cache.second is not None:
            yield from _of_store(self._cache.second)


def _of_store(second: SecondLevel) -> Iterator[Metric]:
    errors = CounterMetricFamily(
        _CACHE + "store_errors", "What went wrong with the store; no client is told of it.", labels=["kind"]
    )
    for kind in ERRORS:
        errors.add_metric([kind], second.errors[kind])
    yield errors
    yield GaugeMetricFamily(
        _CACHE + "store_up", "0 while the store is left alone because it fails.", not second.is_away
    )
    yield CounterMetricFamily(_CACHE + "store_writes", "Answers written to the store.", second.written)
