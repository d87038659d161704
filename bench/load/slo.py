"""A service level objective: the latencies that an answer must not exceed to count as good."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from .sample import Sample

_TERM = re.compile(r"(ttft|ttft_scheduled|tpot|itl|e2el?):(\d+(?:\.\d+)?)(ms|s)?")


class Slo(msgspec.Struct, frozen=True, omit_defaults=True):
    """In seconds; None sets no limit. ``itl`` is for the longest interval of an answer."""

    ttft: float | None = None
    ttft_scheduled: float | None = None
    tpot: float | None = None
    itl: float | None = None
    e2e: float | None = None

    def is_met(self, sample: Sample) -> bool:
        """Whether a request was answered within all limits. A measure that an answer doesn't have (the TPOT of one token)
        breaks no limit.
        """
        if sample.error is not None:
            return False
        limits = ((self.ttft, sample.ttft), (self.ttft_scheduled, sample.ttft_scheduled), (self.tpot, sample.tpot))
        if any(limit is not None and value is not None and value > limit for limit, value in limits):
            return False
        if self.e2e is not None and sample.e2e > self.e2e:
            return False
        return self.itl is None or max(sample.intervals(), default=0.0) <= self.itl


def parse_slo(terms: Sequence[str]) -> Slo | None:
    """The objective of ``ttft:500ms,tpot:50ms`` or vLLM's ``ttft:500 tpot:50`` (milliseconds); None of no terms.

    Raises ValueError.
    """
    limits: dict[str, float] = {}
    for term in (part for text in terms for part in re.split(r"[,\s]+", text) if part):
        if (found := _TERM.fullmatch(term.lower())) is None:
            raise ValueError(f"{term!r} is no objective; write ttft:500ms, tpot:50ms, itl:100ms or e2e:10s")
        name, number, unit = found.groups()
        name = "e2e" if name == "e2el" else name
        if name in limits:
            raise ValueError(f"{name} has two limits; give it one")
        limits[name] = float(number) * (1.0 if unit == "s" else 1e-3)
    return Slo(**limits) if limits else None
