"""``pennyweight bench serve``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .load_options import (
    ARRIVALS,
    MEASURING,
    PROMPTS,
    Api,
    ApiKeyEnv,
    Concurrency,
    Duration,
    InputTokens,
    Model,
    Out,
    OutputTokens,
    Processes,
    Prompts,
    Rate,
    Requests,
    Seed,
    Sweep,
    TokenizerPath,
    Url,
    WarmupRequests,
)

if TYPE_CHECKING:
    from pennyweight.bench.load.experiment import Experiment, Point
    from pennyweight.bench.load.view import View

TRACES = "Traces"


def serve(
    url: Url = "http://127.0.0.1:8000",
    model: Model = None,
    endpoint: Api = "completions",
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    extra_body: Annotated[
        str | None, typer.Option(help="JSON that goes over every request's body.", show_default=False)
    ] = None,
    stream: Annotated[bool, typer.Option(help="Without streaming only E2E is measured.")] = True,
    rate: Rate = None,
    concurrency: Concurrency = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Beside --rate a limit on it; alone the same as --concurrency.",
            rich_help_panel=ARRIVALS,
            show_default=False,
        ),
    ] = None,
    sweep: Sweep = None,
    arrivals: Annotated[
        str | None,
        typer.Option(
            help="poisson, gamma, constant or trace; by default poisson, or a trace's own times.",
            rich_help_panel=ARRIVALS,
            show_default=False,
        ),
    ] = None,
    cv: Annotated[
        float | None,
        typer.Option(
            help="Of a gamma process's intervals; 1 is Poisson.", rich_help_panel=ARRIVALS, show_default=False
        ),
    ] = None,
    burstiness: Annotated[
        float | None, typer.Option(help="vLLM's form of that: 1 / cv².", rich_help_panel=ARRIVALS, show_default=False)
    ] = None,
    requests: Requests = None,
    duration: Duration = None,
    prompts: Prompts = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    ignore_eos: Annotated[
        bool | None,
        typer.Option(
            "--ignore-eos/--no-ignore-eos",
            help="Whether answers have just that length; by default all but those to --prompts.",
            rich_help_panel=PROMPTS,
            show_default=False,
        ),
    ] = None,
    prefix_tokens: Annotated[
        int, typer.Option(min=0, help="In front of synthetic prompts, shared.", rich_help_panel=PROMPTS)
    ] = 0,
    prefixes: Annotated[
        int, typer.Option(min=1, help="How many such prefixes there are.", rich_help_panel=PROMPTS)
    ] = 1,
    turns: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of each session, in a chat: each is sent when the last answer has come.",
            rich_help_panel=PROMPTS,
        ),
    ] = 1,
    think_time: Annotated[
        float, typer.Option(min=0, help="Seconds between an answer and the next turn.", rich_help_panel=PROMPTS)
    ] = 0.0,
    tokenizer: TokenizerPath = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Azure's LLM traces (CSV) or Mooncake's (JSON Lines); .gz too.",
            rich_help_panel=TRACES,
            show_default=False,
        ),
    ] = None,
    rate_scale: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Times the trace's rate; --rate sets it outright.",
            rich_help_panel=TRACES,
            show_default=False,
        ),
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Requests at its beginning.", rich_help_panel=TRACES)] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Requests after that.", rich_help_panel=TRACES, show_default=False)
    ] = None,
    begin: Annotated[
        float, typer.Option("--from", min=0, help="Seconds at its beginning that are left out.", rich_help_panel=TRACES)
    ] = 0.0,
    block_tokens: Annotated[
        int, typer.Option(min=1, help="That each 512-token block of Mooncake's becomes.", rich_help_panel=TRACES)
    ] = 512,
    input_scale: Annotated[
        float, typer.Option(min=0.001, help="Times the prompts' lengths (Azure).", rich_help_panel=TRACES)
    ] = 1.0,
    output_scale: Annotated[
        float, typer.Option(min=0.001, help="Times the answers' lengths.", rich_help_panel=TRACES)
    ] = 1.0,
    max_input_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longer prompts are cut.", rich_help_panel=TRACES, show_default=False)
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longer answers are cut.", rich_help_panel=TRACES, show_default=False)
    ] = None,
    warmup_requests: WarmupRequests = 4,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds at a load's beginning that don't count.", rich_help_panel=MEASURING)
    ] = 0.0,
    cooldown: Annotated[
        float, typer.Option(min=0, help="Seconds at its end that don't count.", rich_help_panel=MEASURING)
    ] = 0.0,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            "--goodput",
            help="ttft:500ms,tpot:50ms,itl:...,e2e:10s (without a unit, ms). May be repeated.",
            rich_help_panel=MEASURING,
            show_default=False,
        ),
    ] = None,
    processes: Processes = None,
    max_lag: Annotated[
        float,
        typer.Option(
            min=0,
            help="Milliseconds that the client may be late at p99; more makes a run invalid.",
            rich_help_panel=MEASURING,
        ),
    ] = 50.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request.", rich_help_panel=MEASURING)] = 600.0,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Load an OpenAI-compatible server and measure throughput, TTFT, TPOT, ITL, E2E and goodput.

    \b
        pennyweight bench serve --rate 2 --input-tokens 512 --output-tokens 128
        pennyweight bench serve --concurrency 1,8,32 --endpoint chat --prompts questions.jsonl
        pennyweight bench serve --sweep rate --duration 60 --slo ttft:500ms,tpot:50ms --out result
        pennyweight bench serve --trace conversation_trace.jsonl --from 600 --duration 300 --rate-scale 0.1 --block-tokens 32

    TTFT runs from the sending; TTFT from schedule from when the request was due, so that it has what a late client or its limit
    on concurrency adds. TPOT is (last token - first) / (tokens - 1), without answers of one token. ITL is pooled over tokens: n
    tokens that come together count as n intervals of a n-th of the wait each. Tokens are counted by the server's usage. A
    failed request is counted by its kind and ends nothing. A run is invalid, and the exit code 1, when the client was late,
    when more than 1 % of the requests failed, or when tokens could not be counted. Repeated against the same running server, the
    same seed meets a filled prefix cache: take another --seed.
    """
    settings = dict(locals())

    from pennyweight.bench.load.choice import Arrivals, Source
    from pennyweight.bench.load.endpoint import find_endpoint, parse_api, parse_object
    from pennyweight.bench.load.experiment import Experiment
    from pennyweight.bench.load.measurement import measure
    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.load.slo import parse_slo
    from pennyweight.bench.load.sweep import knee_of
    from pennyweight.bench.load.table import make_tables
    from pennyweight.bench.load.view import View, label
    from pennyweight.bench.load.worker import ClientDied
    from pennyweight.bench.machine import usable_cores
    from pennyweight.bench.result import Run, show

    run = Run("serve", settings)
    asked = Arrivals(rate or (), concurrency or (), max_concurrency, arrivals, cv, burstiness, rate_scale, sweep)
    source = Source(
        prompts=prompts,
        trace=trace,
        skip=skip,
        limit=limit,
        begin=begin,
        seconds=duration,
        block_tokens=block_tokens,
        input_scale=input_scale,
        output_scale=output_scale,
        most_input=max_input_tokens,
        most_output=max_output_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_tokens=prefix_tokens,
        prefixes=prefixes,
        turns=turns,
        think_time=think_time,
        tokenizer=tokenizer,
    )

    async def load(view: View) -> tuple[Experiment, list[Point]]:
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C: what has been measured is shown, and no client process is left behind.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        asked.check(is_trace=trace is not None)
        found = await find_endpoint(
            url,
            model=model,
            api=parse_api(endpoint),
            stream=stream,
            api_key=os.environ.get(api_key_env),
            extra_body=parse_object(extra_body),
        )
        experiment = Experiment(
            endpoint=found,
            workload=await source.workload(found),
            seed=seed,
            requests=requests,
            seconds=duration,
            exact=prompts is None if ignore_eos is None else ignore_eos,
            slo=parse_slo(slo or ()),
            warmup=warmup,
            cooldown=cooldown,
            warmup_requests=warmup_requests,
            processes=processes,
            cores=usable_cores(),
            most_lag=max_lag / 1000,
            request_seconds=timeout,
        )
        return experiment, await measure(experiment, asked, view, out)

    try:
        with View() as view:
            experiment, points = asyncio.run(load(view))
    except (BadAnswer, ClientDied, ValueError, OSError) as error:
        typer.echo(f"pennyweight bench serve: {error}", err=True)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    knee = knee_of(points)
    data = {**experiment.describe(), "points": [point.describe() for point in points], "knee": knee}
    many = len(points) > 1
    complaints = [f"{label(one.load)}: {text}" if many else text for one in points for text in one.complaints]
    result = run.result(data, versions={}, complaints=tuple(complaints))
    show(result, out, *make_tables(points, knee))
    if not result.is_valid:
        sys.exit(1)
