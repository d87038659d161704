"""``pennyweight plan``."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

plan = typer.Typer(name="plan", add_completion=False, rich_markup_mode="rich")

WORKLOAD, SERVICE, SPACE, MONEY, MODEL = "Traffic", "Service", "What is tried", "Prices", "Model of the engine"


@plan.command()
def make(
    model: Annotated[Path, typer.Option(help="The model's config.json, or its directory.")],
    trace: Annotated[
        Path | None,
        typer.Option(help="Azure's CSV or Mooncake's JSONL (.gz too).", rich_help_panel=WORKLOAD),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="Requests per second at the peak; a trace is scaled to it.", rich_help_panel=WORKLOAD
        ),
    ] = None,
    cv: Annotated[
        float,
        typer.Option(help="Of the gaps between arrivals: 1 is Poisson, 0 constant.", rich_help_panel=WORKLOAD),
    ] = 1.0,
    input_tokens: Annotated[
        str,
        typer.Option(
            help="256, 128-512, normal:512:128 or lognormal:512:256, as in bench serve.", rich_help_panel=WORKLOAD
        ),
    ] = "lognormal:1024:800",
    output_tokens: Annotated[
        str, typer.Option(help="Of answers, in the same forms.", rich_help_panel=WORKLOAD)
    ] = "lognormal:256:200",
    requests: Annotated[
        int, typer.Option(min=20, help="How many are simulated; of a trace the first ones.", rich_help_panel=WORKLOAD)
    ] = 2000,
    rates: Annotated[
        Path | None,
        typer.Option(
            help="A CSV with a column req_rate over a day or more, taken relative to its peak.",
            rich_help_panel=WORKLOAD,
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
        typer.Option(
            min=0, max=0.99, help="Share of requests answered from it; may be repeated.", rich_help_panel=SPACE
        ),
    ] = [0.0],  # noqa: B006
    route_share: Annotated[
        list[float],
        typer.Option(
            min=0, max=0.99, help="Share of the rest sent to --route-to; may be repeated.", rich_help_panel=SPACE
        ),
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
        list[Path] | None,
        typer.Option(
            help="Plan nothing, but fit the model to this result of `bench serve` and write --calibration; may be repeated.",
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

        pennyweight plan --model config.json --rate 8 --input-tokens lognormal:1024:800 --output-tokens lognormal:256:200 --slo ttft:p99:500ms,tpot:p50:40ms

    Requests are simulated one by one through continuous batching, on each card, number of cards, tensor parallelism,
    quantisation and batch; the fewest replicas that keep the SLO are taken, and the cheapest by accepted answer come first. Data
    sheets alone are some 25 % off: calibrate on a sweep of your own server.

        pennyweight bench serve --url http://127.0.0.1:8000 ... --out sweep
        pennyweight plan --calibrate sweep --model config.json --gpu h100 --quantisation bfloat16 --calibration h100.json
        pennyweight plan --calibration h100.json --model config.json ...
    """
    from pennyweight.bench.load.lengths import parse_lengths
    from pennyweight.bench.load.mode import MAX_CV
    from pennyweight.bench.plan.calibration import read_calibration
    from pennyweight.bench.plan.demand import Demand, Shares
    from pennyweight.bench.plan.device import read_devices
    from pennyweight.bench.plan.model_shape import read_model_shape
    from pennyweight.bench.plan.offer import find_offers
    from pennyweight.bench.plan.plan import make_plan
    from pennyweight.bench.plan.quantisation import choose_quantisations, read_quality
    from pennyweight.bench.plan.search import Space
    from pennyweight.bench.plan.slo import parse_slo
    from pennyweight.bench.plan.table import make_tables
    from pennyweight.bench.plan.trace import read_relative_rates, trace_workload
    from pennyweight.bench.plan.workload import make_workload
    from pennyweight.bench.result import Run, show
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.ledger.price_book import load_prices

    from .plan_progress import plan_progress

    if calibrate:
        _calibrate(
            calibrate,
            calibration or calibrate[0] / "calibration.json",
            model=model,
            devices=devices,
            names=gpu or [],
            quantisation=quantisation[0],
            tp=tp[0],
            max_num_seqs=max_num_seqs[0],
            max_num_batched_tokens=max_num_batched_tokens,
            kv_tokens=kv_tokens,
            out=out,
        )
        return
    shape = read_model_shape(model)
    if trace is not None:
        workload = trace_workload(trace, requests)
        if rate is not None:
            workload = workload.at_rate(rate)
    elif rate is not None:
        if not 0 <= cv <= MAX_CV:
            raise ConfigError(f"--cv must be from 0 (constant) to {MAX_CV:.0f}; 1 is a Poisson process")
        try:
            inputs, outputs = parse_lengths(input_tokens), parse_lengths(output_tokens)
        except ValueError as error:
            raise ConfigError(f"--input-tokens and --output-tokens: {error}") from None
        workload = make_workload(rate, cv, inputs, outputs, requests=requests, longest=shape.context, seed=seed)
    else:
        raise ConfigError("give the traffic: --trace FILE, or --rate with --cv, --input-tokens and --output-tokens")
    if workload.longest > shape.context:
        raise ConfigError(
            f"the longest request has {workload.longest} tokens, more than the model's context of {shape.context}: "
            "plan for a model with a longer one, or with shorter requests"
        )
    book = load_prices(prices)
    if any(route_share) and route_to is None:
        raise ConfigError("--route-share needs --route-to, the hosted model that they are sent to")
    demand = Demand(
        workload,
        parse_slo(slo),
        None if route_to is None else book.model(route_to),
        (1.0,) if rates is None else read_relative_rates(rates),
        seed,
    )
    prefix_shares: list[float | None] = [None] if prefix_share is None else [*prefix_share]
    space = Space(
        offers=find_offers(
            gpu or [],
            read_devices(devices),
            book,
            None if dollars_per_hour is None else Decimal(str(dollars_per_hour)),
        ),
        tps=tp,
        quantisations=choose_quantisations(quantisation, {} if quality is None else read_quality(quality)),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        shares=[
            Shares(prefix, cached, routed)
            for prefix in prefix_shares
            for cached in response_cache_share
            for routed in route_share
        ],
        most_devices=max_gpus,
    )
    settings = {
        "model": shape,
        "traffic": {
            "trace": trace,
            "rate": workload.rate,
            "cv": None if trace else cv,
            "requests": len(workload),
            "mean_input": demand.mean_input,
            "mean_output": demand.mean_output,
        },
        "slo": [str(objective) for objective in demand.slo],
        "calibration": calibration,
        "seed": seed,
    }
    run = Run("plan", settings)
    compared = [book.model(id) for id in hosted] if hosted else list(book.models.values())
    with plan_progress() as on_progress:
        made = make_plan(
            space,
            demand,
            shape,
            None if calibration is None else read_calibration(calibration),
            compared,
            keep=top,
            seed=seed,
            on_progress=on_progress,
        )
    show(run.result(made.data(), versions={}), out, *make_tables(made, demand))


def _calibrate(
    results: list[Path],
    file: Path,
    *,
    model: Path,
    devices: Path | None,
    names: list[str],
    quantisation: str,
    tp: int,
    max_num_seqs: int,
    max_num_batched_tokens: int | None,
    kv_tokens: int | None,
    out: Path | None,
) -> None:
    """Fit to all loads of a sweep, having measured the error on every other one, and write the calibration."""
    from pennyweight.bench.plan.calibration import calibrate, write_calibration
    from pennyweight.bench.plan.served import describe_served
    from pennyweight.bench.plan.sweep import read_sweep
    from pennyweight.bench.plan.validation import make_table, validate
    from pennyweight.bench.result import Run, show
    from pennyweight.server.errors import ConfigError

    from .plan_progress import fitting_progress

    if len(names) != 1:
        raise ConfigError("--calibrate needs the one device that was measured: --gpu NAME of the device book")
    sweep = read_sweep(results)
    served = describe_served(
        model,
        names[0],
        devices,
        quantisation,
        tp=tp,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_tokens=kv_tokens,
        longest=sweep.longest,
    )
    run = Run("plan-calibration", {"results": results, "served": served, "calibration": file})
    with fitting_progress("fitting to every other load") as on_progress:
        validation = validate(served, sweep, on_progress)
    with fitting_progress("fitting to all loads") as on_progress:
        calibration = calibrate(served, sweep, validation.errors, on_progress)
    write_calibration(calibration, file)
    data = {"calibration": calibration, "predictions": validation.predictions, "errors": validation.errors}
    complaints = (*sweep.complaints(), *validation.complaints())
    table = make_table(validation.predictions, validation.errors)
    show(run.result(data, versions=sweep.last.versions, complaints=complaints), out, table)
