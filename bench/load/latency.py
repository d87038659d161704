"""What the samples of a load come to: throughput, time to first token, time per output token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .sample import Sample


@dataclass(frozen=True)
class LoadSummary:
    """One load's numbers. Times are in seconds."""

    concurrency: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    output_tokens_per_second: float
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float | None


def summarise(samples: Sequence[Sample], concurrency: int) -> LoadSummary:
    """The summary of a load of at least one request, from the first one's sending to the last one's end."""
    seconds = max(sample.ended for sample in samples) - min(sample.sent for sample in samples)
    output_tokens = sum(sample.output_tokens for sample in samples)
    ttfts = [sample.ttft for sample in samples]
    tpots = [tpot for sample in samples if (tpot := sample.tpot) is not None]
    return LoadSummary(
        concurrency=concurrency,
        requests=len(samples),
        prompt_tokens=sum(sample.prompt_tokens for sample in samples),
        output_tokens=output_tokens,
        seconds=seconds,
        output_tokens_per_second=output_tokens / seconds,
        ttft_p50=percentile(ttfts, 50),
        ttft_p99=percentile(ttfts, 99),
        tpot_p50=percentile(tpots, 50) if tpots else None,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of 100 lie, between neighbours by straight line. Raises ValueError of none."""
    if not values:
        raise ValueError("no values have no percentile")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below, above = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    return below + (above - below) * (rank - math.floor(rank))
