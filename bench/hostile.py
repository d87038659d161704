"""What good clients feel of hostile ones: latency at half the capacity, alone and beside hostile requests of every kind.

    python -m pennyweight.bench.hostile --url http://127.0.0.1:8000

Against a running server: its capacity is measured by a closed loop of good requests; then good traffic comes at half of
that in an open loop, in rounds of two phases each, alone and attacked, the order turned from round to round. The attacks
are made before a phase begins, and come from a process of their own, of a low priority. Latency counts from when a
request was due. The table is for people; the last line is everything as JSON. The exit code is 1 when a good
request failed or an attack got a 5xx or another answer than it should.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .attackers import Attackers
from .good_traffic import GoodAnswer, good_bodies, measure_capacity, run_open_loop
from .hostile_requests import KINDS
from .latency import percentile
from .load import find_endpoint
from .machine import this_machine

BAR = 1.2
CAPACITY_CLIENTS = 16


def main(
    url: Annotated[str, typer.Option(help="The server's.")] = "http://127.0.0.1:8000",
    requests: Annotated[int, typer.Option(min=1, help="Hostile requests in all.")] = 2000,
    rate: Annotated[float, typer.Option(min=0.1, help="Hostile requests a second.")] = 20.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="Of the capacity, for the good traffic.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind of attack; may be repeated.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Measure good traffic with and without hostile requests beside it."""
    console = Console(width=120)
    report = asyncio.run(_measure(url, requests, rate, share, rounds, kind or list(KINDS), seed))
    console.print(_table(report))
    for text, count in report["complaints"].items():
        console.print(f"{count} x {text}", markup=False, highlight=False)
    print(json.dumps(report))
    if report["complaints"] or report["good_failures"]:
        sys.exit(1)


async def _measure(
    url: str, requests: int, rate: float, share: float, rounds: int, kinds: list[str], seed: int
) -> dict[str, Any]:
    model = (await find_endpoint(url)).model
    await measure_capacity(url, good_bodies(model, 40, seed), concurrency=CAPACITY_CLIENTS)
    capacity = await measure_capacity(url, good_bodies(model, 200, seed + 1), concurrency=CAPACITY_CLIENTS)
    good_rate = capacity * share
    seconds = requests / rate / rounds
    alone: list[list[GoodAnswer]] = []
    attacked: list[list[GoodAnswer]] = []
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
                    alone.append(await run_open_loop(url, bodies, rate=good_rate, seed=number))
                    continue
                attackers.start(rate)
                attacked.append(await run_open_loop(url, bodies, rate=good_rate, seed=number))
                found, number_sent = await attackers.finish()
                complaints.update(found)
                sent += number_sent
    return {
        "machine": asdict(this_machine()),
        "model": model,
        "kinds": len(kinds),
        "hostile_requests": sent,
        "hostile_rate": rate,
        "capacity": capacity,
        "good_rate": good_rate,
        "good_requests": sum(map(len, alone + attacked)),
        "good_failures": [answer.failure for phase in alone + attacked for answer in phase if answer.failure],
        "complaints": dict(complaints),
        "alone": [_summary(phase) for phase in alone],
        "attacked": [_summary(phase) for phase in attacked],
        "all_alone": _summary([answer for phase in alone for answer in phase]),
        "all_attacked": _summary([answer for phase in attacked for answer in phase]),
    }


def _summary(answers: Sequence[GoodAnswer]) -> dict[str, float]:
    found: dict[str, float] = {"requests": len(answers), "failures": sum(one.failure is not None for one in answers)}
    for name, values in (
        ("ttft", [one.ttft for one in answers]),
        ("e2e", [one.e2e for one in answers]),
        ("lag", [one.lag for one in answers]),
    ):
        found |= {f"{name}_p{percent}": percentile(values, percent) for percent in (50, 90, 99)}
    return found


def _table(report: dict[str, Any]) -> Table:
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


if __name__ == "__main__":
    typer.run(main)
