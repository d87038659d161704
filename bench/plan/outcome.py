"""What a workload's requests met with, measured or simulated, by the same definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outcome:
    """Arrays of [requests], times in seconds: when each was sent, had its first token and its last one.

    ``step_seconds`` and ``step_decodes`` are [steps]: how long each took and how many sequences it gave a further token.
    ``busy`` is the share of the time in which a step was under way, ``peak_kv_use`` the most of the cache that was held.
    What a measurement can't tell is empty or 0.
    """

    sent: NDArray[np.float64]
    first: NDArray[np.float64]
    ended: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    step_seconds: NDArray[np.float64]
    step_decodes: NDArray[np.int64]
    step_tokens: int = 0
    busy: float = 0.0
    preemptions: int = 0
    peak_running: int = 0
    peak_kv_use: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first request's sending to the last one's end."""
        return float(self.ended.max() - self.sent.min())

    @property
    def output_throughput(self) -> float:
        """Output tokens per second."""
        return float(self.output_tokens.sum()) / self.seconds

    @property
    def ttft(self) -> NDArray[np.float64]:
        return self.first - self.sent

    @property
    def e2e(self) -> NDArray[np.float64]:
        return self.ended - self.sent

    @property
    def tpot(self) -> NDArray[np.float64]:
        """Time per output token after the first, of the requests that have a second."""
        several = self.output_tokens > 1
        return (self.ended - self.first)[several] / (self.output_tokens[several] - 1)

    def percentile(self, metric: str, percent: float) -> float:
        """Of ``ttft``, ``tpot``, ``itl`` or ``e2e``, in seconds; 0 where no request has a value."""
        if metric == "itl":
            return _weighted_percentile(self.step_seconds, self.step_decodes, percent)
        values = {"ttft": self.ttft, "tpot": self.tpot, "e2e": self.e2e}[metric]
        return float(np.percentile(values, percent)) if len(values) else 0.0

    def meets(self, metric: str, limit: float) -> NDArray[np.bool_]:
        """Whether each request kept below a limit in seconds. One of a single token has no TPOT and keeps any."""
        if metric == "ttft":
            return self.ttft <= limit
        if metric == "e2e":
            return self.e2e <= limit
        # A request's ITL is judged by its mean, which is its TPOT.
        return (self.ended - self.first) <= limit * np.maximum(self.output_tokens - 1, 0) + 1e-12

    def after(self, share: float) -> Outcome:
        """Without the first requests, whose engine was still empty. The steps stay."""
        start = int(len(self.sent) * share)
        return Outcome(
            self.sent[start:],
            self.first[start:],
            self.ended[start:],
            self.input_tokens[start:],
            self.output_tokens[start:],
            self.step_seconds,
            self.step_decodes,
            self.step_tokens,
            self.busy,
            self.preemptions,
            self.peak_running,
            self.peak_kv_use,
        )


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """What the requests of several replicas met with, together; their times are of one clock."""
    if len(outcomes) == 1:
        return outcomes[0]
    return Outcome(
        np.concatenate([one.sent for one in outcomes]),
        np.concatenate([one.first for one in outcomes]),
        np.concatenate([one.ended for one in outcomes]),
        np.concatenate([one.input_tokens for one in outcomes]),
        np.concatenate([one.output_tokens for one in outcomes]),
        np.concatenate([one.step_seconds for one in outcomes]),
        np.concatenate([one.step_decodes for one in outcomes]),
        sum(one.step_tokens for one in outcomes),
        float(np.mean([one.busy for one in outcomes])),
        sum(one.preemptions for one in outcomes),
        max(one.peak_running for one in outcomes),
        max(one.peak_kv_use for one in outcomes),
    )


def _weighted_percentile(values: NDArray[np.float64], weights: NDArray[np.int64], percent: float) -> float:
    total = int(weights.sum())
    if total == 0:
        return 0.0
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, total * percent / 100)])
