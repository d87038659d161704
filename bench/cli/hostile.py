"""``pennyweight bench hostile``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer


def hostile(
    url: Annotated[str, typer.Option(help="The server's.")] = "http://127.0.0.1:8000",
    requests: Annotated[int, typer.Option(min=1, help="Hostile requests in all.")] = 2000,
    rate: Annotated[float, typer.Option(min=0.1, help="Hostile requests a second.")] = 20.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="Of the capacity, for the good traffic.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind of attack; may be repeated.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """What good clients feel of hostile ones: latency at half the capacity, alone and beside attacks of every kind.

    Against a running server: its capacity is measured by a closed loop of good requests; then good traffic comes at half of
    that in an open loop, in rounds of two phases each, alone and attacked, the order turned from round to round. The attacks
    are made before a phase begins, and come from a process of their own, of a low priority. Latency counts from when a
    request was due. The exit code is 1 when a good request failed or an attack got a 5xx or another answer than it should.
    """
    from pennyweight.bench.hostile.requests import KINDS
    from pennyweight.bench.hostile.rounds import make_table, measure
    from pennyweight.bench.result import Run, show

    kinds = kind or list(KINDS)
    run = Run(
        "hostile", {"url": url, "requests": requests, "rate": rate, "share": share, "rounds": rounds, "seed": seed}
    )
    found = asyncio.run(measure(url, requests, rate, share, rounds, kinds, seed))
    complaints = [f"{count} x {text}" for text, count in found["complaints"].items()]
    complaints += [f"a good request failed: {text}" for text in found["good_failures"]]
    result = run.result(found, versions={}, complaints=tuple(complaints))
    show(result, out, make_table(found))
    if not result.is_valid:
        sys.exit(1)
