"""``pennyweight plan``."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

plan = typer.Typer(name="plan", add_completion=False, rich_markup_mode="rich")

WORKLOAD, SERVICE, SPACE, MONEY, MODEL = "Traffic", "Service", "What is tried", "Prices", "The model of the engine"


@plan.command()
def make(
    model: Annotated[Path, typer.Option(help="The model's config.json, or its directory.")],
    trace: Annotated[
        Path | None,
        typer.Option(help="Azure's CSV or Mooncake's JSONL (.gz too).", rich_help_panel=WORKLOAD),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Requests per second at the peak; a trace is scaled to it.", rich_help_panel=WORKLOAD),
    ] = None,
    cv: Annotated[
        float, typer.Option(min=0, help="Of the gaps between arrivals: 1 is Poisson, 0 constant.", rich_help_panel=WORKLOAD)
    ] = 1.0,
    input: Annotated[
        str, typer.Option(help="Input tokens, MEAN or MEAN:CV (log-normal).", rich_help_panel=WORKLOAD)
    ] = "1024:0.8",
    output: Annotated[str, typer.Option(help="Output tokens, MEAN or MEAN:CV.", rich_help_panel=WORKLOAD)] = "256:0.8",
    requests: Annotated[
        int, typer.Option(min=20, help="How many are simulated; of a trace the first ones.", rich_help_panel=WORKLOAD)
    ] = 2000,
    rates: Annotated[
        Path | None,
        typer.Option(
            help="A CSV with a column req_rate over a day or more, taken relative to its peak.", rich_help_panel=WORKLOAD
        ),
    ] = None,
    slo: Annotated[
        str, typer.Option(help="METRIC:pPERCENT:LIMIT, separated by commas.", rich_help_panel=SERVICE)
    ] = "ttft:p99:2s,tpot:p50:50ms",
    quality: Annotated[
        Path | None,
        typer.Option(
            help="Measured shares of good answers by quantisation, YAML or JSON: {fp8: 0.99}.", rich_help_panel=SERVICE
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="A device, or the id of a price; may be repeated. Default: every card with a price on demand.",
            rich_help_panel=SPACE,
        ),
    ] = None,
    tp: Annotated[
        list[int], typer.Option(min=1, help="Tensor parallelism; may be repeated.", rich_help_panel=SPACE)
    ] = [1, 2, 4, 8],  # noqa: B006
    quantisation: Annotated[list[str], typer.Option(help="May be repeated.", rich_help_panel=SPACE)] = [  # noqa: B006
        "bfloat16",
        "fp8",
        "w4a16",
    ],
    max_num_seqs: Annotated[
        list[int], typer.Option(min=1, help="Sequences in a step; may be repeated.", rich_help_panel=SPACE)
    ] = [64, 256],  # noqa: B006
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a step; 2048 on cards, 128 on CPUs.", rich_help_panel=SPACE)
    ] = None,
    max_gpus: Annotated[int, typer.Option(min=1, help="Devices at most.", rich_help_panel=SPACE)] = 64,
    prefix_share: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of each input in the prefix cache; may be repeated. Default: what a trace's blocks say.",
            rich_help_panel=SPACE,
        ),
    ] = None,
    response_cache_share: Annotated[
        list[float],
        typer.Option(min=0, max=0.99, help="Share of requests answered from it; may be repeated.", rich_help_panel=SPACE),
    ] = [0.0],  # noqa: B006
    route_share: Annotated[
        list[float],
        typer.Option(min=0, max=0.99, help="Share of the rest sent to --route-to; may be repeated.", rich_help_panel=SPACE),
    ] = [0.0],  # noqa: B006
    route_to: Annotated[str | None, typer.Option(help="A hosted model's id.", rich_help_panel=SPACE)] = None,
    hosted: Annotated[
        list[str] | None,
        typer.Option(help="Hosted models to compare with, by id; all by default.", rich_help_panel=MONEY),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            envvar="PENNYWEIGHT_PRICES", help="Your own prices, over those that come along.", rich_help_panel=MONEY
        ),
    ] = None,
    dollars_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What each device costs, whatever the book says.", rich_help_panel=MONEY)
    ] = None,
    devices: Annotated[
        Path | None, typer.Option(help="A device book in the place of the packaged one.", rich_help_panel=MODEL)
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A file that --calibrate wrote.", rich_help_panel=MODEL)
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Plan nothing, but fit the model to this result of `bench serve` and write --calibration.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    kv_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="With --calibrate: the measured server's kv_cache_tokens.", rich_help_panel=MODEL),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Configurations that are shown.")] = 10,
    seed: Annotated[int, typer.Option(help="Of arrivals, lengths and draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """What it takes to serve a workload within an SLO, and what that costs.

        pennyweight plan --model config.json --rate 8 --input 1024:0.8 --output 256:0.8 --slo ttft:p99:500ms,tpot:p50:40ms

    Requests are simulated one by one through continuous batching, on each card, number of cards, tensor parallelism,
    quantisation and batch; the fewest replicas that keep the SLO are taken, and the cheapest by accepted answer come first. Data
    sheets alone are some 25 % off: calibrate on a sweep of your own server.

        pennyweight bench serve --url http://127.0.0.1:8000 ... --out sweep
        pennyweight plan --calibrate sweep --model config.json --gpu h100 --quantisation bfloat16 --calibration h100.json
        pennyweight plan --calibration h100.json --model config.json ...
    """
    from pennyweight.server.errors import ConfigError

    from .plan_run import Traffic, run_calibration, run_plan

    if calibrate is not None:
        if not gpu or len(gpu) != 1:
            raise ConfigError("--calibrate needs the one device that was measured: --gpu NAME of the device book")
        run_calibration(
            calibrate,
            calibration or calibrate / "calibration.json",
            model=model,
            device=gpu[0],
            devices=devices,
            quantisation=quantisation[0],
            tp=tp[0],
            max_num_seqs=max_num_seqs[0],
            max_num_batched_tokens=max_num_batched_tokens,
            kv_tokens=kv_tokens,
            out=out,
        )
        return
