"""What Prometheus reads at /metrics: vLLM's set of names under our prefix, so that dashboards made for vLLM need one substitution.

============================================ ============================================ =========================
vLLM                                         here                                         taken from
============================================ ============================================ =========================
vllm:num_requests_running                    pennyweight:num_requests_running             engine, at each scrape
vllm:num_requests_waiting                    pennyweight:num_requests_waiting             engine, at each scrape
vllm:kv_cache_usage_perc (0 to 1)            pennyweight:kv_cache_usage_perc (0 to 1)     engine, at each scrape
vllm:prefix_cache_queries_total (tokens)     pennyweight:prefix_cache_queries_total       engine, at each scrape
vllm:prefix_cache_hits_total (tokens)        pennyweight:prefix_cache_hits_total          engine, at each scrape
vllm:num_preemptions_total                   pennyweight:num_preemptions_total            engine, at each scrape
vllm:prompt_tokens_total                     pennyweight:prompt_tokens_total              answers
vllm:generation_tokens_total                 pennyweight:generation_tokens_total          answers, as they stream
vllm:request_success_total{finished_reason}  pennyweight:request_success_total            answers
vllm:time_to_first_token_seconds             pennyweight:time_to_first_token_seconds      answers, from the arrival
vllm:inter_token_latency_seconds             pennyweight:inter_token_latency_seconds      answers
vllm:e2e_request_latency_seconds             pennyweight:e2e_request_latency_seconds      answers, from the arrival
vllm:request_queue_time_seconds              pennyweight:request_queue_time_seconds       ``Started.queue_seconds``
vllm:request_prompt_tokens                   pennyweight:request_prompt_tokens            answers
vllm:request_generation_tokens               pennyweight:request_generation_tokens        answers
--                                           pennyweight:response_cache_tokens_total      answers that were given again
--                                           pennyweight:request_failure_total{code}      answers
--                                           pennyweight:http_requests_total              endpoint, method, status
--                                           pennyweight:engine_state{state}              1 for the state it is in
--                                           pennyweight:engine_restarts_total            engine, at each scrape
--                                           pennyweight:model_load_seconds{kind}         cold, warm or swapped
--                                           pennyweight:upstream_retries_total           engine, at each scrape
--                                           pennyweight:upstream_retry_seconds_total     engine, at each scrape
--                                           pennyweight:build_info{version}              always 1
============================================ ============================================ =========================

All but the last and http_requests carry ``model_name``; vLLM's ``engine`` label (the index of a data-parallel replica) has no
counterpart. ``request_success`` counts choices, by ``stop``, ``length``, ``content_filter`` (an upstream's) or ``abort`` (the client
went away), and embedded inputs as ``stop``. Histograms have vLLM's buckets, and three below 10 ms for the time between tokens, which
a small model's tokens would otherwise all fall under. What devices and engines' work add is in ``gpu``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.engines.base import AdapterNames, Engine, EngineStats, HealthState, Leased
from pennyweight.server.types import FinishReason

from .instruments import Counter, Family, Histogram

PREFIX = "pennyweight:"

# Seconds.
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)  # fmt: skip
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)  # fmt: skip
_REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
# Tokens. vLLM ends the series at the model's context; here it is the same for all models.
_TOKENS = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))

_COUNTERS = {
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "preemptions": "Requests that gave up their KV cache to others and were computed again.",
    "restarts": "Times that the engine's process was started again.",
    "retries": "Attempts at an upstream that failed and were made again.",
    "retry_seconds": "Time that those took, with the waits after them.",
}
_COUNTER_NAMES = {
    "preemptions": "num_preemptions",
    "restarts": "engine_restarts",
    "retries": "upstream_retries",
    "retry_seconds": "upstream_retry_seconds",
}


class _EngineCollector(Collector):
    """Asks each engine what it is doing when Prometheus does.

    An engine's counters start from 0 again with its process; what they had reached is added to what follows. What it
    counted between the last scrape and its end is lost.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._last = dict.fromkeys(engines, EngineStats())
        self._before: dict[str, dict[str, float]] = {name: dict.fromkeys(_COUNTERS, 0) for name in engines}

    def collect(self) -> Iterator[Metric]:
        running = _gauge("num_requests_running", "Requests in the running batch.")
        waiting = _gauge("num_requests_waiting", "Requests waiting in the engine for a place in the batch.")
        usage = _gauge("kv_cache_usage_perc", "Share of the KV cache in use, from 0 to 1.")
        state = _gauge("engine_state", "1 for the state that the engine is in.", "state")
        counters = {
            field: CounterMetricFamily(PREFIX + _COUNTER_NAMES.get(field, field), help_text, labels=["model_name"])
            for field, help_text in _COUNTERS.items()
        }
        loads = SummaryMetricFamily(
            PREFIX + "model_load_seconds", "Loading a model on demand.", labels=["model_name", "kind"]
        )
        for name, engine in self._engines.items():
            if isinstance(engine, Leased):
                for kind, (count, seconds) in engine.load_seconds().items():
                    loads.add_metric([name, kind], count, seconds)
            stats = engine.stats()
            running.add_metric([name], stats.running)
            waiting.add_metric([name], stats.waiting)
            usage.add_metric([name], stats.kv_cache_usage)
            now = engine.health().state
            for one in HealthState:
                state.add_metric([name, one.value], float(one is now))
            for field, value in self._accumulate(name, stats).items():
                counters[field].add_metric([name], value)
        yield from (running, waiting, usage, state, loads, *counters.values())

    def _accumulate(self, name: str, stats: EngineStats) -> dict[str, float]:
        last, before = self._last[name], self._before[name]
        self._last[name] = stats
        for field in _COUNTERS:
            if getattr(stats, field) < getattr(last, field):
                before[field] += getattr(last, field)
        return {field: before[field] + getattr(stats, field) for field in _COUNTERS}


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, help_text, labels=["model_name", *labels])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetrics:
    """The metrics of one model's answers, with its label bound, so that observing is one call without a look-up.

    ``failure`` alone still wants its labels: the model's name and an error code.
    """

    model_name: str
    prompt_tokens: Counter
    generation_tokens: Counter
    given_prompt_tokens: Counter
    given_generation_tokens: Counter
    success: Mapping[str, Counter]
    failure: Family[Counter]
    time_to_first_token: Histogram
    inter_token_latency: Histogram
    e2e_latency: Histogram
    queue_time: Histogram
    request_prompt_tokens: Histogram
    request_generation_tokens: Histogram


class _ByName(Mapping[str, ModelMetrics]):
    """Metrics by each name that a client may use: those of the engine that it means now, of an adapter's name its model's."""

    def __init__(
        self, engines: Mapping[str, Engine], by_engine: Mapping[int, ModelMetrics], routes: Mapping[str, ModelMetrics]
    ) -> None:
        self._engines = engines
        self._routes = routes
        self._adapters = engines if isinstance(engines, AdapterNames) else None
        self._by_engine = by_engine

    def __getitem__(self, name: str) -> ModelMetrics:
        if name in self._routes:
            return self._routes[name]
        base = self._adapters.base_of(name) if self._adapters is not None else name
        return self._by_engine[id(self._engines[base])]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)


class Metrics:
    """All metrics of one server, in a registry of their own.

    ``engines`` are by each name that a client may use, and may come to mean another of them; an engine's first name is its label.
    ``routes`` are names that leave the choice of the model to the router, under which requests count that no model has taken up.
    ``models`` are by all names; adapters count as their models.
    """

    def __init__(self, engines: Mapping[str, Engine], *, version: str, routes: Iterable[str] = ()) -> None:
        labels: dict[int, str] = {}
        for name, engine in engines.items():
            labels.setdefault(id(engine), name)
        # The engines by their labels, and the registry, for who adds collectors of its own.
        self.engines: Mapping[str, Engine] = {name: engines[name] for name in labels.values()}
        self.registry = CollectorRegistry()
        self.registry.register(_EngineCollector(self.engines))
        Gauge(PREFIX + "build_info", "Always 1.", ["version"], registry=self.registry).labels(version).set(1)
        self._http = self._counter("http_requests", "HTTP requests answered.", "endpoint", "method", "status")
        self._prompt = self._counter("prompt_tokens", "Prompt tokens of answered requests.", "model_name")
        self._generation = self._counter("generation_tokens", "Tokens generated.", "model_name")
        routes = tuple(routes)
        models = self._bind((*labels.values(), *routes))
        self.models: Mapping[str, ModelMetrics] = _ByName(
            engines, {one: models[name] for one, name in labels.items()}, {name: models[name] for name in routes}
        )

    def http_request(self, endpoint: str, method: str, status: int) -> None:
        """Count an answered request; ``endpoint`` is a route's path, never what the client wrote."""
        self._http.labels(endpoint, method, str(status)).inc()

    def answered_tokens(self) -> tuple[float, float]:
        """Tokens of the prompts that were answered and of the answers, of all models, so far."""
        prompt, generation = (
            sum(
                sample.value
                for family in counter.collect()
                for sample in family.samples
                if sample.name.endswith("_total")
            )
            for counter in (self._prompt, self._generation)
        )
        return prompt, generation

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type.

        Always the text format, which every Prometheus reads: prometheus_client's OpenMetrics writes ``:`` in a name as ``_``.
        """
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def _counter(self, name: str, help_text: str, *labels: str) -> Family[Counter]:
        family = Family(PREFIX + name, help_text, labels, Counter)
        self.registry.register(family)
        return family

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Family[Histogram]:
        family = Family(PREFIX + name, help_text, ["model_name"], functools.partial(Histogram, buckets))
        self.registry.register(family)
        return family

    def _bind(self, names: Iterable[str]) -> dict[str, ModelMetrics]:
        prompt, generation = self._prompt, self._generation
        success = self._counter("request_success", "Choices that ended, by why.", "model_name", "finished_reason")
        failure = self._counter("request_failure", "Requests that ended in an error.", "model_name", "code")
        given = self._counter(
            "response_cache_tokens", "Tokens of answers for which nothing was computed.", "model_name", "kind"
        )
        first = self._histogram("time_to_first_token_seconds", "From arrival to the first token.", _FIRST_TOKEN)
        between = self._histogram("inter_token_latency_seconds", "Between two tokens of a choice.", _BETWEEN_TOKENS)
        e2e = self._histogram("e2e_request_latency_seconds", "From arrival to the end of the answer.", _REQUEST)
        queue = self._histogram(
            "request_queue_time_seconds",
            "From the line before the engine, or arrival in it, to the first step.",
            _REQUEST,
        )
        prompts = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS)
        generations = self._histogram("request_generation_tokens", "Tokens generated for a request.", _TOKENS)
        return {
            name: ModelMetrics(
                model_name=name,
                prompt_tokens=prompt.labels(name),
                generation_tokens=generation.labels(name),
                given_prompt_tokens=given.labels(name, "prompt"),
                given_generation_tokens=given.labels(name, "generation"),
                success={reason: success.labels(name, reason) for reason in (*FinishReason, "abort")},
                failure=failure,
                time_to_first_token=first.labels(name),
                inter_token_latency=between.labels(name),
                e2e_latency=e2e.labels(name),
                queue_time=queue.labels(name),
                request_prompt_tokens=prompts.labels(name),
                request_generation_tokens=generations.labels(name),
            )
            for name in names
        }
