"""What the samples of a load come to: throughput, goodput, and how its latencies are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from .distribution import Distribution, distribution, pooled_distribution
from .sample import Sample
from .slo import Slo


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One load's numbers: seconds, tokens, and each of these per second.

    Requests, tokens, errors and latencies are of the requests that were due within the window (see ``summarise``);
    throughputs are what was completed within it, over its ``duration``. ``goodput`` is the requests per second that met
    the SLO and ``slo_attainment`` their share of all that were due, failed ones included; both are None without an SLO.
    ``cached_tokens`` is None where no answer says. Latencies are of completed requests; ``lag`` is of all.
    """

    requests: int
    completed: int
    failed: int
    errors: dict[str, int]
    duration: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    request_throughput: float
    input_throughput: float
    output_throughput: float
    total_throughput: float
    goodput: float | None
    slo_attainment: float | None
    ttft: Distribution | None
    ttft_scheduled: Distribution | None
    tpot: Distribution | None
    itl: Distribution | None
    e2e: Distribution | None
    lag: Distribution | None


def summarise(
    samples: Sequence[Sample], slo: Slo | None = None, seed: int = 0, *, window: tuple[float, float] | None = None
) -> Summary:
    """The summary of a load of at least one request; the same seed gives the same intervals. Raises ValueError of none.

    ``window`` is the part of the load that counts, in seconds from its start, so that its warming up and its running
    out can be left out: latencies are of the requests that were due in it, throughputs of the answers that ended and the
    tokens that came in it. Without one all counts, from the load's start to the last answer's end (as in `vllm bench
    serve`), and the two are the same requests.
    """
    begin, end = window or (0.0, max((sample.ended for sample in samples), default=0.0))
    due = [sample for sample in samples if begin <= sample.scheduled <= end]
    if not due:
        raise ValueError("no request was due in the part of the load that counts; make it longer than its warm-up")
    completed = [sample for sample in due if sample.error is None]
    ended = [sample for sample in samples if sample.error is None and begin <= sample.ended <= end]
    duration = end - begin
    cached = [sample.cached_tokens for sample in completed if sample.cached_tokens is not None]
    input_rate = sum(sample.prompt_tokens for sample in ended) / duration
    output_rate = sum(_tokens_within(sample, begin, end) for sample in samples if sample.error is None) / duration
    return Summary(
        requests=len(due),
        completed=len(completed),
        failed=len(due) - len(completed),
        errors=dict(sorted(Counter(sample.error for sample in due if sample.error is not None).items())),
        duration=duration,
        input_tokens=sum(sample.prompt_tokens for sample in completed),
        output_tokens=sum(sample.output_tokens for sample in completed),
        cached_tokens=sum(cached) if cached else None,
        request_throughput=len(ended) / duration,
        input_throughput=input_rate,
        output_throughput=output_rate,
        total_throughput=input_rate + output_rate,
        goodput=None if slo is None else sum(map(slo.is_met, ended)) / duration,
        slo_attainment=None if slo is None else sum(map(slo.is_met, due)) / len(due),
        ttft=distribution([sample.ttft for sample in completed], seed),
        ttft_scheduled=distribution([sample.ttft_scheduled for sample in completed], seed),
        tpot=distribution([sample.tpot for sample in completed], seed),
        itl=pooled_distribution([sample.intervals() for sample in completed], seed),
        e2e=distribution([sample.e2e for sample in completed], seed),
        lag=distribution([sample.lag for sample in due], seed),
    )


def _tokens_within(sample: Sample, begin: float, end: float) -> float:
    """The output tokens of an answer that came within the window; all or none of one that was not streamed."""
    if begin <= sample.sent and sample.ended <= end:
        return sample.output_tokens
    if not sample.arrivals:
        return sample.output_tokens if begin <= sample.ended <= end else 0
    pairs = zip(sample.arrivals, sample.pieces, strict=True)
    return sum(tokens for arrival, tokens in pairs if begin <= arrival <= end)
