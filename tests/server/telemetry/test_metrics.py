"""The exposition, read back by Prometheus' own parser."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState
from pennyweight.server.registry import Registry
from pennyweight.server.telemetry.metrics import Metrics
from pennyweight.server.types import Event, Prompt, Request

NAMES = {
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "num_preemptions_total",
    "request_success_total",
    "time_to_first_token_seconds_bucket",
    "inter_token_latency_seconds_bucket",
    "e2e_request_latency_seconds_bucket",
    "request_queue_time_seconds_bucket",
    "request_prompt_tokens_bucket",
    "request_generation_tokens_bucket",
    "engine_state",
    "engine_restarts_total",
    "build_info",
}


class IdleEngine:
    """An engine that answers nothing and tells the stats it is given."""

    def __init__(self) -> None:
        self.now = EngineStats()
        self.state = HealthState.READY

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        raise NotImplementedError

    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    async def tokenize(self, prompt: Prompt) -> list[int]:
        raise NotImplementedError

    async def detokenize(self, token_ids: list[int]) -> str:
        raise NotImplementedError

    def health(self) -> Health:
        return Health(state=self.state)

    def stats(self) -> EngineStats:
        return self.now

    async def aclose(self) -> None:
        pass


@pytest.fixture
def engine() -> IdleEngine:
    return IdleEngine()


@pytest.fixture
def metrics(engine: IdleEngine) -> Metrics:
    return Metrics({"m": engine}, version="1.2.3")


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)["pennyweight:" + name, frozenset(labels.items())]


def test_every_documented_name_is_there_before_the_first_request(metrics: Metrics) -> None:
    assert {"pennyweight:" + name for name in NAMES} <= {name for name, _ in samples(metrics)}


def test_names_keep_their_colon_in_the_text(metrics: Metrics) -> None:
    assert b'\npennyweight:num_requests_running{model_name="m"} 0.0\n' in metrics.render()[0]


def test_gauges_say_what_the_engine_says_at_the_scrape(metrics: Metrics, engine: IdleEngine) -> None:
    engine.now = EngineStats(running=3, waiting=2, kv_cache_usage=0.25)
    engine.state = HealthState.RESTARTING
    assert value(metrics, "num_requests_running", model_name="m") == 3
    assert value(metrics, "num_requests_waiting", model_name="m") == 2
    assert value(metrics, "kv_cache_usage_perc", model_name="m") == 0.25
    assert value(metrics, "engine_state", model_name="m", state="restarting") == 1
    assert value(metrics, "engine_state", model_name="m", state="ready") == 0


def test_counters_go_on_where_a_restarted_engine_had_left_them(metrics: Metrics, engine: IdleEngine) -> None:
    seen = []
    for queries, restarts in ((0, 0), (100, 0), (0, 0), (30, 1), (50, 1), (5, 2)):
        engine.now = EngineStats(prefix_cache_queries=queries, prefix_cache_hits=queries // 2, restarts=restarts)
        found = samples(metrics)
        label = frozenset({("model_name", "m")})
        seen.append(
            tuple(
                found["pennyweight:" + name, label]
                for name in ("prefix_cache_queries_total", "prefix_cache_hits_total", "engine_restarts_total")
            )
        )
    assert seen == [(0, 0, 0), (100, 50, 0), (100, 50, 0), (130, 65, 1), (150, 75, 1), (155, 77, 2)]


def test_http_requests_are_counted_by_route_and_status(metrics: Metrics) -> None:
    metrics.http_request("/v1/models/{id}", "GET", 404)
    metrics.http_request("/v1/models/{id}", "GET", 404)
    assert value(metrics, "http_requests_total", endpoint="/v1/models/{id}", method="GET", status="404") == 2


def test_two_servers_in_one_process_do_not_share_metrics(metrics: Metrics, engine: IdleEngine) -> None:
    other = Metrics({"m": engine}, version="1.2.3")
    metrics.models["m"].prompt_tokens.inc(7)
    assert value(metrics, "prompt_tokens_total", model_name="m") == 7
    assert value(other, "prompt_tokens_total", model_name="m") == 0


def test_an_engine_with_two_names_is_counted_under_its_first(engine: IdleEngine) -> None:
    metrics = Metrics({"m": engine, "alias": engine}, version="1.2.3")
    metrics.models["alias"].prompt_tokens.inc(7)
    metrics.models["m"].prompt_tokens.inc(1)
    assert value(metrics, "prompt_tokens_total", model_name="m") == 8
    assert not any(("model_name", "alias") in labels for _, labels in samples(metrics))


def test_an_alias_that_is_moved_counts_for_what_it_means_now() -> None:
    first, second = IdleEngine(), IdleEngine()
    names = Registry({"v1": first, "v2": second}, {"chat": "v1"})
    metrics = Metrics(names, version="1.2.3")
    metrics.models["chat"].prompt_tokens.inc(7)
    names.promote("chat", "v2")
    metrics.models["chat"].prompt_tokens.inc(1)
    assert value(metrics, "prompt_tokens_total", model_name="v1") == 7
    assert value(metrics, "prompt_tokens_total", model_name="v2") == 1
    assert not any(("model_name", "chat") in labels for _, labels in samples(metrics))
