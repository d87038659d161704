"""Counters and histograms that one thread writes, as Prometheus reads them.

prometheus_client's own take a lock and check their labels at each observation, and search the buckets one by one; there are two
observations for every token of every stream. Here everything is told and read on the event loop's thread, so that an
observation is a few bytecodes; names, the registry and the text format stay prometheus_client's.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counter:
    """A number that only grows."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.created = time.time()

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``, which must not be negative."""
        self.value += amount


class Histogram:
    """How many observations fell under each of ``bounds``, which ascend; each counts under the first that it isn't above."""

    __slots__ = ("bounds", "counts", "created", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        # The last is of what is above all bounds.
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self.created = time.time()

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``value``, as often as ``times`` says."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


_Child = TypeVar("_Child", Counter, Histogram)


class Family(Collector, Generic[_Child]):
    """All instruments of one name, by the values of their labels. ``new`` makes one more."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], new: Callable[[], _Child]) -> None:
        self._name = name
        self._help_text = help_text
        self._labels = tuple(labels)
        self._new: Callable[[], _Child] = new
        self._children: dict[tuple[str, ...], _Child] = {}

    def labels(self, *values: str) -> _Child:
        """The instrument with these values, one for each label. Made when it is first asked for."""
        child = self._children.get(values)
        if child is None:
            assert len(values) == len(self._labels), "a value for each label"
            child = self._children[values] = self._new()
        return child

    def collect(self) -> Iterator[Metric]:
        is_counter = all(isinstance(child, Counter) for child in self._children.values())
        metric = Metric(self._name, self._help_text, "counter" if is_counter else "histogram")
        for values, child in self._children.items():
            labels = dict(zip(self._labels, values, strict=True))
            if isinstance(child, Counter):
                metric.add_sample(f"{self._name}_total", labels, child.value)
            else:
                _add_buckets(metric, child, labels)
            metric.add_sample(f"{self._name}_created", labels, child.created)
        yield metric


def _add_buckets(metric: Metric, histogram: Histogram, labels: dict[str, str]) -> None:
    for bound, count in zip((*histogram.bounds, float("inf")), accumulate(histogram.counts), strict=True):
        metric.add_sample(f"{metric.name}_bucket", labels | {"le": floatToGoString(bound)}, count)  # type: ignore[no-untyped-call]
    metric.add_sample(f"{metric.name}_count", labels, sum(histogram.counts))
    metric.add_sample(f"{metric.name}_sum", labels, histogram.sum)
