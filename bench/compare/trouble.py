"""Why a comparison's figures must not be quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .measure import Measurement

# By how much the tokens that the same prompts came to may differ (a chat's template adds some).
TOLERANCE = 0.05


def troubles(measurements: Sequence[Measurement], baseline: str) -> Iterator[str]:
    """One sentence each."""
    for one in measurements:
        where = f"{one.label}, round {one.round + 1}"
        yield from (f"{where}: {complaint}" for complaint in one.complaints)
        if one.failure is not None:
            yield f"{where} failed: {one.failure.splitlines()[0]}"
    wanted = _prompt_tokens(measurements, baseline)
    for name in dict.fromkeys(one.label for one in measurements):
        found = _prompt_tokens(measurements, name)
        if wanted and found and abs(found / wanted - 1) > TOLERANCE:
            yield (
                f"{name} counted {found:.0f} prompt tokens a request where {baseline} counted {wanted:.0f}: "
                "they don't do the same work"
            )


def _prompt_tokens(measurements: Sequence[Measurement], label: str) -> float | None:
    loads = [load for one in measurements if one.label == label for load in one.loads]
    return sum(load.prompt_tokens for load in loads) / sum(load.requests for load in loads) if loads else None
