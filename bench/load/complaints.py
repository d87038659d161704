"""What makes a load's figures not to be quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .run import ClientStats
from .sample import Sample
from .summary import Summary

# Seconds by which a client may be late, at the 99th percentile, in its sending or its event loop's waking.
MOST_LAG = 0.05
MOST_FAILED = 0.01
LEAST_OUTPUT = 0.99


def complaints(
    samples: Sequence[Sample],
    summary: Summary,
    client: ClientStats,
    *,
    most_lag: float = MOST_LAG,
    planned_output: int | None = None,
) -> Iterator[str]:
    """One sentence each. ``planned_output`` is the tokens that the answers were to have in all, where that is exact."""
    late = summary.lag.p99 if summary.lag else 0.0
    if late > most_lag:
        yield f"the client sent late: by {late * 1e3:.0f} ms at p99, more than {most_lag * 1e3:.0f} ms; {_REMEDY}"
    if client.loop_lag_p99 > most_lag:
        lag = client.loop_lag_p99
        yield f"the client read late: by {lag * 1e3:.0f} ms at p99, more than {most_lag * 1e3:.0f} ms; {_REMEDY}"
    if summary.failed > MOST_FAILED * summary.requests:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in summary.errors.items())
        first = next((sample.message for sample in samples if sample.error and sample.message), None)
        said = f"; the first said: {first}" if first else ""
        yield f"{summary.failed} of {summary.requests} requests failed ({kinds}){said}"
    if any(not sample.is_counted for sample in samples):
        yield "the server doesn't count its tokens (usage), so each piece of text was taken for one"
    if planned_output and not summary.failed:
        output = sum(sample.output_tokens for sample in samples)
        if output < LEAST_OUTPUT * planned_output:
            yield f"answers had {output} tokens where {planned_output} were planned: the server stops before max_tokens"


_REMEDY = "take more --processes, or another machine for the client"
