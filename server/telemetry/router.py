"""What /metrics tells of the router."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.router.wiring import Routing

from .metrics import PREFIX


class RouterCollector(Collector):
    """Asks the router when Prometheus does."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def collect(self) -> Iterator[Metric]:
        routed = CounterMetricFamily(
            PREFIX + "router_requests",
            "Requests that a model has begun to answer.",
            labels=["tier", "model_name", "policy"],
        )
        for route, count in self._routing.tally.routed.items():
            routed.add_metric([route.tier, route.model, route.policy], count)
        left = CounterMetricFamily(
            PREFIX + "router_fallbacks",
            "Requests that left a model for the next, by the error.",
            labels=["model_name", "code"],
        )
        for fallback, count in self._routing.chain.fallbacks.items():
            left.add_metric([fallback.model, fallback.code], count)
        tokens = CounterMetricFamily(
            PREFIX + "router_dropped_tokens",
            "Tokens of such answers, of their prompts and generated.",
            labels=["model_name", "kind"],
        )
        for (name, kind), count in self._routing.tally.dropped_tokens.items():
            tokens.add_metric([name, kind], count)
        escalations = CounterMetricFamily(
            PREFIX + "router_escalations",
            "Answers that were dropped for the stronger tier's, by the judge that was not sure of them.",
            labels=["from", "to", "judge"],
        )
        for one, count in self._routing.cascade.escalations.items():
            escalations.add_metric([one.weaker, one.stronger, one.judge], count)
        yield from (routed, left, tokens, escalations)
        tally = self._routing.tally
        for name, told, dollars in (
            ("dollars", "What answers cost by their models' prices.", tally.spent),
            ("saved_dollars", "What the dearest model's would have cost beyond that.", tally.saved),
            (
                "dropped_dollars",
                "What answers cost that were judged or served to judge another, and were not given; among router_dollars.",
                tally.dropped_dollars,
            ),
        ):
            family = CounterMetricFamily(PREFIX + "router_" + name, told, labels=["model_name"])
            for model, amount in dollars.items():
                family.add_metric([model], amount)
            yield family
