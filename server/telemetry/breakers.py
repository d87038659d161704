"""What Prometheus reads of circuit breakers and of the budget for second tries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.retry_budget import RetryBudget
from pennyweight.server.router.breaker import BreakerState, CircuitBreaker

from .metrics import PREFIX

_COUNTERS = {
    "openings": "Times that it opened.",
    "probes": "Requests that were let through to see whether the model is back.",
    "refusals": "Requests that were kept from the model.",
    "rests": "Times that the model asked to be left alone for a while.",
}


class BreakerCollector(Collector):
    """Asks them when Prometheus does. ``breakers`` are by the names of their models."""

    def __init__(self, breakers: Mapping[str, CircuitBreaker], budget: RetryBudget) -> None:
        self._breakers = breakers
        self._budget = budget

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            PREFIX + "router_breaker_state",
            "1 for the state that the model's breaker is in.",
            labels=["model_name", "state"],
        )
        for name, breaker in self._breakers.items():
            now = breaker.state
            for one in BreakerState:
                state.add_metric([name, one.value], float(one is now))
        yield state
        for counter, what in _COUNTERS.items():
            family = CounterMetricFamily(f"{PREFIX}router_breaker_{counter}", what, labels=["model_name"])
            for name, breaker in self._breakers.items():
                family.add_metric([name], getattr(breaker, counter))
            yield family
        budget = self._budget
        yield CounterMetricFamily(
            PREFIX + "router_second_tries", "Second tries and fallbacks that were made.", budget.taken
        )
        yield CounterMetricFamily(
            PREFIX + "router_second_tries_refused",
            "Second tries and fallbacks that the budget had no room for.",
            budget.refused,
        )
        yield GaugeMetricFamily(PREFIX + "router_second_tries_left", "How many the budget has left.", budget.balance)
