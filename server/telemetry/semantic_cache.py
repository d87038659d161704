"""What Prometheus reads of the semantic cache."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.cache.semantic.cache import JUDGEMENTS, RESULTS, SemanticCache

from .metrics import PREFIX


class SemanticCacheCollector(Collector):
    """Asks the cache when Prometheus does."""

    def __init__(self, cache: SemanticCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        cache, prefix = self._cache, PREFIX + "semantic_cache_"
        requests = CounterMetricFamily(
            prefix + "requests", "Requests that took part, by what the semantic cache did for them.", labels=["result"]
        )
        for result in RESULTS:
            requests.add_metric([result], cache.results[result])
        yield requests
        judged = CounterMetricFamily(
            prefix + "judged", "Kept answers that were judged by a new one, by what was found.", labels=["judgement"]
        )
        for judgement in JUDGEMENTS:
            judged.add_metric([judgement], cache.judged[judgement])
        yield judged
        yield CounterMetricFamily(
            prefix + "audited_wrong",
            "Audits that showed a wrong answer, or nothing.",
            sum(policy.budget.seen for policy in cache.policies),
        )
        tokens = CounterMetricFamily(prefix + "tokens", "What it cost in tokens, by what for.", labels=["purpose"])
        tokens.add_metric(["embedding"], cache.index.embedder.tokens)
        tokens.add_metric(["judging"], cache.judge.usage.prompt_tokens + cache.judge.usage.completion_tokens)
        yield tokens
        yield CounterMetricFamily(
            prefix + "embedding_failures", "Embeddings that failed or took too long.", cache.index.embedder.failures
        )
        yield GaugeMetricFamily(prefix + "bytes", "What its entries take.", cache.entries.nbytes)
        yield GaugeMetricFamily(prefix + "answers", "Answers in it.", len(cache.entries))
        yield CounterMetricFamily(prefix + "evictions", "Answers that gave way to newer ones.", cache.entries.evictions)
        yield CounterMetricFamily(
            prefix + "flips", "Times that another version of the embedder took over.", cache.index.flips
        )
