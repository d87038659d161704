"""Good traffic at a share of the capacity, in rounds of two phases each, alone and beside hostile requests."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from pennyweight.bench.load.endpoint import find_endpoint
from pennyweight.bench.load.sample import Sample

from .attackers import Attackers
from .good_traffic import failure, good_bodies, measure_capacity, run_open_loop

BAR = 1.2
CAPACITY_CLIENTS = 16


async def measure(
    url: str, requests: int, rate: float, share: float, rounds: int, kinds: list[str], seed: int
) -> dict[str, Any]:
    """Capacity, then ``rounds`` of the two phases. Raises RuntimeError when the capacity can't be measured."""
    endpoint = await find_endpoint(url, api="chat")
    model = endpoint.model
    await measure_capacity(endpoint, good_bodies(model, 40, seed), concurrency=CAPACITY_CLIENTS)
    capacity = await measure_capacity(endpoint, good_bodies(model, 200, seed + 1), concurrency=CAPACITY_CLIENTS)
    good_rate = capacity * share
    seconds = requests / rate / rounds
    alone: list[list[Sample]] = []
    attacked: list[list[Sample]] = []
    complaints: Counter[str] = Counter()
    sent = 0
    with Attackers(url) as attackers:
        for number in range(rounds):
            phases = [False, True] if number % 2 == 0 else [True, False]
            for phase, is_attacked in enumerate(phases):
                bodies = good_bodies(model, round(seconds * good_rate), seed + 2 + number, phase)
                if is_attacked:
                    await attackers.prepare(model, kinds, round(requests / rounds), seed + number)
                print(f"round {number + 1} of {rounds}, {'attacked' if is_attacked else 'alone'}", file=sys.stderr)
                if not is_attacked:
                    alone.append(await run_open_loop(endpoint, bodies, rate=good_rate, seed=number))
                    continue
                attackers.start(rate)
                attacked.append(await run_open_loop(endpoint, bodies, rate=good_rate, seed=number))
                found, number_sent = await attackers.finish()
                complaints.update(found)
                sent += number_sent
    return {
        "model": model,
        "kinds": len(kinds),
        "hostile_requests": sent,
        "hostile_rate": rate,
        "capacity": capacity,
        "good_rate": good_rate,
        "good_requests": sum(map(len, alone + attacked)),
        "good_failures": [text for phase in alone + attacked for one in phase if (text := failure(one))],
        "complaints": dict(complaints),
        "alone": [_summary(phase) for phase in alone],
        "attacked": [_summary(phase) for phase in attacked],
        "all_alone": _summary([answer for phase in alone for answer in phase]),
        "all_attacked": _summary([answer for phase in attacked for answer in phase]),
    }


def _summary(samples: Sequence[Sample]) -> dict[str, float]:
    """Percentiles in seconds; TTFT and E2E are from when a request was due, and a TTFT that never came is its E2E."""
    found: dict[str, float] = {"requests": len(samples), "failures": sum(one.error is not None for one in samples)}
    for name, values in (
        ("ttft", [(one.ended if one.first is None else one.first) - one.scheduled for one in samples]),
        ("e2e", [one.ended - one.scheduled for one in samples]),
        ("lag", [one.lag for one in samples]),
    ):
        found |= {f"{name}_p{percent}": float(np.percentile(values, percent)) for percent in (50, 90, 99)}
    return found


def make_table(report: Mapping[str, Any]) -> Table:
    """Percentiles alone and attacked, and their ratios."""
    table = Table(
        title=f"{report['good_rate']:.1f} good requests/s (capacity {report['capacity']:.1f}) beside "
        f"{report['hostile_rate']:g} hostile/s of {report['kinds']} kinds; {report['hostile_requests']} sent",
    )
    for heading in ("good requests", "alone, ms", "attacked, ms", "ratio", f"median of rounds (bar {BAR} at p99)"):
        table.add_column(heading, justify="right")
    for name in ("e2e_p50", "e2e_p90", "e2e_p99", "ttft_p50", "ttft_p90", "ttft_p99", "lag_p99"):
        alone, attacked = report["all_alone"][name], report["all_attacked"][name]
        ratios = [two[name] / one[name] for one, two in zip(report["alone"], report["attacked"], strict=True)]
        table.add_row(
            name,
            f"{alone * 1000:.0f}",
            f"{attacked * 1000:.0f}",
            f"{attacked / alone:.2f}",
            f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
        )
    return table
