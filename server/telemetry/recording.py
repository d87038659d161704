"""What Prometheus reads of recording."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.record.recorder import Recorder
from pennyweight.server.record.writer import REASONS

from .metrics import PREFIX

_RECORD = PREFIX + "record_"


class RecordingCollector(Collector):
    """Asks the recorder when Prometheus does."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        writer = self._recorder.writer
        yield CounterMetricFamily(_RECORD + "written", "Records written.", writer.written)
        yield CounterMetricFamily(_RECORD + "bytes", "What they took in the files.", writer.nbytes)
        dropped = CounterMetricFamily(_RECORD + "dropped", "Records that were not written, by why.", labels=["reason"])
        for reason in REASONS:
            dropped.add_metric([reason], writer.dropped[reason])
        yield dropped
        yield CounterMetricFamily(
            _RECORD + "unacknowledged",
            "Answers that ended before their record was written, if it ever was.",
            self._recorder.unacknowledged,
        )
        yield GaugeMetricFamily(_RECORD + "pending", "Records that wait to be written.", writer.pending)
        yield GaugeMetricFamily(_RECORD + "up", "0 while what is written fails.", not writer.is_away)
