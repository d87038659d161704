"""What Prometheus reads of the engines' limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.engines.base import Engine
from pennyweight.server.overload.limiter import Grade, Reason, grade
from pennyweight.server.overload.overload import Overload

from .metrics import PREFIX


class OverloadCollector(Collector):
    """Asks each engine's limiter when Prometheus does. ``engines`` are by their labels."""

    def __init__(self, overload: Overload, engines: Mapping[str, Engine]) -> None:
        self._overload = overload
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        window = _gauge("window", "Requests that the engine may have and not have started.")
        batch = _gauge("batch_limit", "Requests that it may have in all; infinite without an objective for its pace.")
        starting = _gauge("starting", "Requests that it has and has not started.")
        in_flight = _gauge("in_flight", "Requests that it has.")
        queued = _gauge("queued", "Requests that wait in the line before it, by their priority.", "class")
        refused = CounterMetricFamily(
            PREFIX + "overload_refused",
            "Requests that it was not given, by their priority and why.",
            labels=["model_name", "class", "reason"],
        )
        for name, engine in self._engines.items():
            limiter = self._overload.limiter(engine)
            window.add_metric([name], limiter.window.size)
            batch.add_metric([name], limiter.batch.size)
            starting.add_metric([name], limiter.starting)
            in_flight.add_metric([name], limiter.in_flight)
            waiting: Counter[Grade] = Counter()
            for priority, count in limiter.line.classes.items():
                waiting[grade(priority)] += count
            for one in Grade:
                queued.add_metric([name, one.value], waiting[one])
                for reason in Reason:
                    refused.add_metric([name, one.value, reason.value], limiter.refused[reason, one])
        yield from (window, batch, starting, in_flight, queued, refused)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + "overload_" + name, help_text, labels=["model_name", *labels])
