"""How a load used the device, what the engine's time went to, and what its tokens took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pennyweight.bench.load.sample import Sample
from pennyweight.server.telemetry.gpu.peaks import Peak

from .page import MetricsPage, grown
from .watch import Row

PHASES = ("prefill", "decode", "recompute")


@dataclass(frozen=True)
class Stretch:
    """A load in time: from its start to its last answer's end, in seconds of time.monotonic(), with /metrics on both sides."""

    begin: float
    end: float
    before: MetricsPage | None
    after: MetricsPage | None

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def grown(self, name: str, **labels: str) -> float | None:
        return grown(self.before, self.after, name, **labels)


def utilisation(
    stretch: Stretch, rows: Sequence[Row], samples: Sequence[Sample], peak: Peak | None, precision: str
) -> dict[str, float | None]:
    """Shares from 0 to 1 and numbers, None where nobody tells.

    ``mfu`` and ``mbu`` are the server's own counts over the peak and the load's time; ``gpu`` (or ``cpu``), ``sm``, ``tensor``,
    ``dram``, power and clocks are means of the readings, over all devices; ``memory_used_bytes`` is the most. ``power_watts``
    and energy are of all devices together; joules are per token of completed requests: of all tokens, and of output alone.
    ``throttled_*`` are the shares of readings that had this reason.
    """
    flops = stretch.grown("estimated_flops_per_gpu_total")
    read = stretch.grown("estimated_read_bytes_per_gpu_total")
    moved = None if read is None else read + (stretch.grown("estimated_write_bytes_per_gpu_total") or 0.0)
    found: dict[str, float | None] = {
        "mfu": _share(flops, peak.flops_at(precision) if peak else None, stretch.seconds),
        "mbu": _share(moved, peak.bandwidth if peak else None, stretch.seconds),
    }
    tables = [row.values() for row in rows]
    for name in dict.fromkeys(name for values in tables for name in values):
        values = [table[name] for table in tables if name in table]
        found[name] = max(values) if name == "memory_used_bytes" else sum(values) / len(values)
    devices = len({row.device.label for row in rows})
    if (power := found.get("power_watts")) is not None:
        found["power_watts"] = power * devices
    done = [sample for sample in samples if sample.error is None]
    output = sum(sample.output_tokens for sample in done)
    total = output + sum(sample.prompt_tokens for sample in done)
    joules = _joules(rows, stretch.seconds)
    found["joules_per_token"] = joules / total if joules is not None and total else None
    found["joules_per_output_token"] = joules / output if joules is not None and output else None
    if any(row.reading.throttle_reasons is not None for row in rows):
        reasons = {reason for row in rows for reason in row.reading.throttle_reasons or ()}
        for reason in sorted(reasons):
            found[f"throttled_{reason}"] = sum(reason in (row.reading.throttle_reasons or ()) for row in rows) / len(
                rows
            )
        found["throttled"] = sum(bool(row.reading.throttle_reasons) for row in rows) / len(rows)
    return found


def time_split(stretch: Stretch) -> dict[str, float | None]:
    """Seconds of the load: of the engine's steps by what they were for, ``idle`` without any, and ``retries``.

    ``retries`` are attempts at an upstream that failed and were made again, with the waits between: those of several
    requests may overlap, and no step of this server's engine is in them. All are None for servers that don't tell.
    """
    spent = {phase: stretch.grown("engine_seconds_total", phase=phase) for phase in PHASES}
    known = [seconds for seconds in spent.values() if seconds is not None]
    return {
        **spent,
        "idle": max(0.0, stretch.seconds - sum(known)) if known else None,
        "retries": stretch.grown("upstream_retry_seconds_total"),
    }


def counts(stretch: Stretch) -> dict[str, float | None]:
    """Counters over the load: tokens by phase, steps by kind, preemptions and retries."""
    return {
        **{f"{phase}_tokens": stretch.grown("engine_tokens_total", phase=phase) for phase in PHASES},
        **{f"{kind}_steps": stretch.grown("engine_steps_total", kind=kind) for kind in ("prefill", "decode", "mixed")},
        "preemptions": stretch.grown("num_preemptions_total"),
        "retries": stretch.grown("upstream_retries_total"),
    }


def _share(amount: float | None, peak: float | None, seconds: float) -> float | None:
    return amount / seconds / peak if amount is not None and peak and seconds > 0 else None


def _joules(rows: Sequence[Row], seconds: float) -> float | None:
    """The energy of all devices over the load: what their counters have grown by, stretched from the readings' span to it."""
    total = None
    for label in {row.device.label for row in rows}:
        told = [
            (row.reading.time, row.reading.energy)
            for row in rows
            if row.device.label == label and row.reading.energy is not None
        ]
        if len(told) < 2 or told[-1][0] <= told[0][0]:
            return None
        watts = (told[-1][1] - told[0][1]) / (told[-1][0] - told[0][0])
        total = (total or 0.0) + watts * seconds
    return total
