"""``pennyweight bench overload``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from .load_options import MEASURING, PROMPTS, Out, Seed

SERVERS = "Servers"


def overload(
    model: Annotated[
        str,
        typer.Option(help="What the servers serve; 'fixed' is an engine of a known capacity.", rich_help_panel=SERVERS),
    ] = "smollm2-135m-instruct",
    dtype: Annotated[str, typer.Option(rich_help_panel=SERVERS)] = "bfloat16",
    max_wait: Annotated[
        float, typer.Option(min=0.001, help="Of the server with the limit, in seconds.", rich_help_panel=SERVERS)
    ] = 1.0,
    max_tpot: Annotated[
        float | None,
        typer.Option(min=0.001, help="Of the same, in seconds.", rich_help_panel=SERVERS, show_default=False),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(min=1, help="That the engine computes on; the client needs a core too.", rich_help_panel=SERVERS),
    ] = 1,
    places: Annotated[int, typer.Option(min=1, help="Of the fixed engine.", rich_help_panel=SERVERS)] = 16,
    step: Annotated[
        float, typer.Option(min=0.0001, help="Seconds of a fixed engine's token.", rich_help_panel=SERVERS)
    ] = 0.01,
    share: Annotated[
        list[float] | None,
        typer.Option(help="Of the capacity; may be repeated. By default 0.5, 1, 1.5, 2, 3 and 5.", show_default=False),
    ] = None,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of each load.")] = 30.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds at its beginning that don't count.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1)] = 1,
    clients: Annotated[int, typer.Option(min=1, help="Of the closed loop that finds the capacity.")] = 32,
    capacity_duration: Annotated[float, typer.Option(min=1, help="Seconds of that.")] = 20.0,
    input_tokens: Annotated[str, typer.Option(help="As of bench serve.", rich_help_panel=PROMPTS)] = "64",
    output_tokens: Annotated[str, typer.Option(help="As of bench serve.", rich_help_panel=PROMPTS)] = "16-48",
    slo: Annotated[list[str] | None, typer.Option(help="As of bench serve.", rich_help_panel=MEASURING)] = None,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a client gives up.", rich_help_panel=MEASURING)
    ] = 15.0,
    processes: Annotated[int, typer.Option(min=1, help="Of the client.", rich_help_panel=MEASURING)] = 1,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """What is left of a server's goodput when more comes than it can do, with its limit (--max-wait) and without.

    \b
        pennyweight bench overload --out result
        pennyweight bench overload --model fixed --slo ttft_scheduled:1500ms

    Two servers are started, one at a time has work. A closed loop finds the capacity; Poisson arrivals at multiples of it then come
    to each in turn, whatever is answered (an open loop). Goodput counts the answers that met the objective, TTFT from when the request was
    due, a refusal's time from its sending. The exit code is 1 when the client was late, or when the server with the limit kept
    less than 95 % of its peak at twice the capacity or 90 % at five times, or refused in more than 50 ms at p99.
    """
    if slo is None:
        slo = ["ttft_scheduled:3s"]
    settings = dict(locals())

    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.load.slo import parse_slo
    from pennyweight.bench.load.view import View
    from pennyweight.bench.load.worker import ClientDied
    from pennyweight.bench.overload.account import account, shortfalls
    from pennyweight.bench.overload.configurations import fixed, native, options_of
    from pennyweight.bench.overload.measure import Plan, measure
    from pennyweight.bench.overload.table import make_tables
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.result import Run, show

    run = Run("overload", settings)
    is_fixed = model == "fixed"
    try:
        objective = parse_slo(slo)
        if objective is None or warmup >= duration:
            raise ValueError("--slo must say what a good answer is, and --warmup be shorter than --duration")
        plan = Plan(
            shares=share or (0.5, 1.0, 1.5, 2.0, 3.0, 5.0),
            seconds=duration,
            warmup=warmup,
            rounds=rounds,
            clients=clients,
            capacity_seconds=capacity_duration,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            slo=objective,
            patience=patience,
            processes=processes,
            seed=seed,
        )
        options = options_of(max_wait, max_tpot)
        if is_fixed:
            peers = fixed(options, places=places, step=step)
        else:
            peers = native(options, model=Path(model), dtype=dtype, threads=threads)
        with View() as view:
            outcome = asyncio.run(measure(plan, peers, has_words=not is_fixed, view=view, out=out))
    except (BadAnswer, ClientDied, PeerFailed, ValueError, OSError) as error:
        typer.echo(f"pennyweight bench overload: {error}", err=True)
        raise typer.Exit(1) from None
    accounts = account(outcome)
    complaints = [f"{one.share:g} x, {one.configuration}: {text}" for one in outcome.levels for text in one.complaints]
    missed = list(shortfalls(accounts))
    data = {
        "model": model,
        "slo": objective,
        "max_wait": max_wait,
        "max_tpot": max_tpot,
        "capacity": outcome.capacity,
        "configurations": accounts,
        "levels": outcome.levels,
        "memory": outcome.memory,
        "shortfalls": missed,
    }
    result = run.result(data, versions={}, complaints=tuple(complaints))
    show(result, out, *make_tables(outcome, accounts))
    for text in missed:
        typer.echo(f"NOT REACHED: {text}", err=True)
    if not result.is_valid or missed:
        sys.exit(1)
