"""Counters and histograms, compared with prometheus_client's own."""

from __future__ import annotations

import functools

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from pennyweight.server.telemetry.instruments import Counter, Family, Histogram

BOUNDS = (0.5, 1.0, 2.5)


def without_times(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not ("_created" in line and line[0] != "#")]


def test_a_histogram_reads_as_prometheus_own() -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = prometheus_client.Histogram("h", "Help.", ["model"], buckets=BOUNDS, registry=theirs)
    family = Family("h", "Help.", ["model"], functools.partial(Histogram, BOUNDS))
    ours.register(family)
    for value in (0.1, 0.5, 0.6, 2.5, 2.6, 100.0):
        histogram.labels("m").observe(value)
        family.labels("m").observe(value)
    assert without_times(generate_latest(ours)) == without_times(generate_latest(theirs))


def test_a_counter_reads_as_prometheus_own() -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = prometheus_client.Counter("c", "Help.", ["model", "code"], registry=theirs)
    family = Family("c", "Help.", ["model", "code"], Counter)
    ours.register(family)
    for amount in (1, 2.5):
        counter.labels("m", 'a"b').inc(amount)
        family.labels("m", 'a"b').inc(amount)
    assert without_times(generate_latest(ours)) == without_times(generate_latest(theirs))


def test_an_observation_may_count_several_times() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(0.75, 3)
    assert histogram.counts == [0, 3, 0, 0]
    assert histogram.sum == pytest.approx(2.25)
