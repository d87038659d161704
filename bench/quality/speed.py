"""How fast both models are served, and what their tokens cost: by the real server, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pennyweight.bench.compare.comparison import MORE_IS_BETTER, Row, make_rows
from pennyweight.bench.compare.measure import Measurement
from pennyweight.bench.compare.plan import Plan, find_vocabulary
from pennyweight.bench.compare.rounds import run_rounds
from pennyweight.bench.compare.trouble import troubles
from pennyweight.bench.peers.pennyweight import Pennyweight
from pennyweight.bench.peers.target import Target

from .models import Variant

BASE, QUANTISED = "base", "quantised"
PROMPT_TOKENS = 62
OUTPUT_TOKENS = 64
KV_CACHE_GIB = 1
SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


class ServedSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """One model's, as medians over rounds. Output tokens/s and dollars for a million of them are by the number of streams.

    ``resident_bytes`` are those of the server's processes after the loads.
    """

    tokens_per_second: dict[str, float]
    dollars_per_million: dict[str, float]
    resident_bytes: float | None


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Both models'. ``complaints`` say why these figures (and no others) must not be quoted."""

    base: ServedSpeed
    quantised: ServedSpeed
    rounds: int
    dollars_per_hour: float | None
    complaints: tuple[str, ...]


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How speed is measured: closed loops of each number of ``streams``, in ``rounds`` that take turns.

    The variants' models are paths.
    """

    base: Variant
    quantised: Variant
    device: str
    streams: tuple[int, ...]
    rounds: int
    dollars_per_hour: float | None
    seed: int


async def measure_speed(serving: Serving) -> Speed:
    """Serve one after the other, on all cores, and load them alike. Raises ValueError, and BadAnswer."""
    variants = {BASE: serving.base, QUANTISED: serving.quantised}
    targets = [Target(name=name, peer=_peer(one, serving.device)) for name, one in variants.items()]
    plan = Plan(
        vocabulary=await find_vocabulary(Path(serving.base.model), ()),
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        concurrency=serving.streams,
        waves=2,
        seed=serving.seed,
    )
    measured: list[Measurement] = []
    await run_rounds(targets, plan, serving.rounds, measured.append)
    rows = {row.label: row for row in make_rows(measured, {})}
    return Speed(
        base=_served(rows[BASE], serving.streams, serving.dollars_per_hour),
        quantised=_served(rows[QUANTISED], serving.streams, serving.dollars_per_hour),
        rounds=serving.rounds,
        dollars_per_hour=serving.dollars_per_hour,
        complaints=tuple(troubles(measured, BASE)),
    )


def _peer(variant: Variant, device: str) -> Pennyweight:
    # A verdict of before must not keep the server from showing how fast the model is.
    options = ("--device", device, "--kv-cache-dtype", variant.kv_cache_dtype, "--allow-failed-gate")
    return Pennyweight(Path(variant.model), variant.dtype, KV_CACHE_GIB, options=options)


def _served(row: Row, streams: Sequence[int], dollars_per_hour: float | None) -> ServedSpeed:
    speeds = {
        str(count): row.medians[name] for count in streams if (name := f"{MORE_IS_BETTER}@{count}") in row.medians
    }
    return ServedSpeed(
        tokens_per_second=speeds,
        dollars_per_million={
            count: dollars_per_hour / SECONDS_PER_HOUR / speed * MILLION for count, speed in speeds.items()
        }
        if dollars_per_hour is not None
        else {},
        resident_bytes=row.medians.get("resident_bytes"),
    )
