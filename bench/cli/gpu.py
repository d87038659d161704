"""``pennyweight bench gpu``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from .load_options import (
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

DEVICE = "Device"


def gpu(
    url: Url = "http://127.0.0.1:8000",
    model: Model = None,
    endpoint: Api = "completions",
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    rate: Rate = None,
    concurrency: Concurrency = None,
    sweep: Sweep = None,
    requests: Requests = None,
    duration: Duration = None,
    prompts: Prompts = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    tokenizer: TokenizerPath = None,
    warmup_requests: WarmupRequests = 4,
    processes: Processes = None,
    pid: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The server's process here; by default the one that listens at --url.",
            rich_help_panel=DEVICE,
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two readings.", rich_help_panel=DEVICE)
    ] = 0.5,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="What MFU's peak is for: bfloat16, fp8, int8 or float32. By default what the server says.",
            rich_help_panel=DEVICE,
            show_default=False,
        ),
    ] = None,
    peak_flops: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="FLOP/s, in place of the table's or the measured ones.",
            rich_help_panel=DEVICE,
            show_default=False,
        ),
    ] = None,
    peak_bandwidth: Annotated[
        float | None, typer.Option(min=1, help="Bytes/s, likewise.", rich_help_panel=DEVICE, show_default=False)
    ] = None,
    dollars_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="What the machine costs, for $/M tokens.", rich_help_panel=DEVICE, show_default=False),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """How full the device is at each load, what its time goes to, and what a million tokens cost then.

    \b
        pennyweight bench gpu --concurrency 1,8,32 --dollars-per-hour 2.49
        pennyweight bench gpu --sweep concurrency --input-tokens 1024 --output-tokens 256 --out result

    Loads are as in bench serve; without --rate and --concurrency the concurrency is swept up to saturation. Cards are read
    through NVML (pip install 'pennyweight[gpu]'), with the activity of multiprocessors, tensor cores and DRAM where the card has
    these counters (Hopper and newer). MFU and MBU are from the server's own counts of FLOPs and bytes in /metrics, over the
    card's dense peak; the time split is from there too, in seconds of the engine's steps. vLLM counts FLOPs and bytes with
    --enable-mfu-metrics, and no time. On a machine without cards the processors are read, and their peaks are measured before the
    first load, which wants a quiet machine. Of a server on another machine only what its /metrics tells is known.
    """
    settings = dict(locals())

    from pennyweight.bench.gpu.measurement import DeviceOptions, measure_devices
    from pennyweight.bench.gpu.table import make_table
    from pennyweight.bench.load.choice import Arrivals, Source
    from pennyweight.bench.load.endpoint import find_endpoint, parse_api
    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.load.view import View, label
    from pennyweight.bench.load.worker import ClientDied
    from pennyweight.bench.result import Run, show

    run = Run("gpu", settings)
    asked = Arrivals(rate or (), concurrency or (), sweep=sweep or (None if rate or concurrency else "concurrency"))
    source = Source(
        prompts=prompts, seconds=duration, input_tokens=input_tokens, output_tokens=output_tokens, tokenizer=tokenizer
    )
    options = DeviceOptions(pid, interval, dtype, peak_flops, peak_bandwidth, dollars_per_hour)
    try:
        asked.check(is_trace=False)
        with View() as view:
            measured = asyncio.run(
                measure_devices(
                    lambda: find_endpoint(
                        url, model=model, api=parse_api(endpoint), api_key=os.environ.get(api_key_env)
                    ),
                    source,
                    asked,
                    options,
                    view,
                    out,
                    seed=seed,
                    requests=requests,
                    seconds=duration,
                    exact=prompts is None,
                    warmup_requests=warmup_requests,
                    processes=processes,
                )
            )
    except (BadAnswer, ClientDied, ValueError, OSError) as error:
        typer.echo(f"pennyweight bench gpu: {error}", err=True)
        raise typer.Exit(1) from None
    many = len(measured.points) > 1
    complaints = [
        f"{label(one.point.load)}: {text}" if many else text for one in measured.points for text in one.point.complaints
    ]
    result = run.result(measured.describe(), versions={}, complaints=(*measured.complaints, *complaints))
    show(result, out, make_table(measured.points, measured.device, measured.precision, measured.peak))
    if not result.is_valid:
        sys.exit(1)
