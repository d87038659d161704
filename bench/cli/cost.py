"""``pennyweight bench cost``."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer


def cost(
    prompts: Annotated[Path, typer.Option(help="Real prompts: JSON Lines (.gz too) or one a line of a .txt.")],
    config: Annotated[
        list[str] | None, typer.Option(help="A configuration, as key=value,key=value; repeated, baseline first.")
    ] = None,
    configs: Annotated[Path | None, typer.Option(help="A YAML file with a list of configurations.")] = None,
    url: Annotated[str | None, typer.Option(help="A running server, as a configuration of its own.")] = None,
    dollars_per_hour: Annotated[float | None, typer.Option(min=0, help="What the machine behind --url costs.")] = None,
    model: Annotated[Path | None, typer.Option(help="What peers serve: a directory in Hugging Face format.")] = None,
    vllm_python: Annotated[Path | None, typer.Option(help="The Python that vLLM is installed for.")] = None,
    llama_server: Annotated[Path | None, typer.Option(help="llama.cpp's llama-server.")] = None,
    kv_cache_gib: Annotated[int, typer.Option(min=1, help="Of each peer.")] = 2,
    system_prompt: Annotated[Path | None, typer.Option(help="A text that stands before every prompt.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Of each round, on each configuration.")] = 40,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests before them, which don't count.")] = 8,
    probes: Annotated[
        int, typer.Option(min=0, help="Prompts whose prefill alone is timed; 0 takes --output-weight.")
    ] = 16,
    output_weight: Annotated[
        float, typer.Option(min=0, help="How many input tokens' cost an output token has, without probes.")
    ] = 4.0,
    output_tokens: Annotated[int, typer.Option(min=1, help="Of each answer; the most, if answers are checked.")] = 64,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 16,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    processes: Annotated[int, typer.Option(min=0, help="The client's own; 0: this one.")] = 0,
    slo: Annotated[list[str] | None, typer.Option(help="For accepted answers: ttft:500ms,tpot:50ms,e2e:10s.")] = None,
    requests_per_hour: Annotated[
        list[float] | None, typer.Option(min=0.001, help="A load to give the cost at, too; may be repeated.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="A hosted model of the price books; may be repeated. All by default.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(envvar="PENNYWEIGHT_PRICES", help="Prices of your own (see pennyweight prices).")
    ] = None,
    savings: Annotated[
        Path | None,
        typer.Option(help="A result of bench savings: response cache and router as further steps of the waterfall."),
    ] = None,
    repeat_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Which of its streams: their share of repeats.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for the result, the samples and the plot.")] = None,
) -> None:
    """What tokens and answers cost on a list of configurations, what each step saves, and from which load on it pays.

        pennyweight bench cost --prompts prompts.jsonl --model DIRECTORY --vllm-python PATH --system-prompt TEXT
            --config name=vllm,peer=vllm,dtype=float32,eager=on,prefix_cache=off,price=aws-c7i-xlarge
            --config name=int8,peer=native,dtype=int8,prefix_cache=off,price=aws-c7i-xlarge
            --config name=cached,peer=native,dtype=int8,price=aws-c7i-xlarge

    A configuration is a peer (native, on-vllm, vllm, llama.cpp) or a command that is started for each round, or a url that is
    measured as it is, written as in bench compare, at dollars_per_hour or at count times a price of the books; aside=on for one
    that is no step of the waterfall. With a url every round takes prompts of its own, so that the server's prefix cache can't
    answer for it.

    Rounds are interleaved in turned order: warm-up, probe, then a closed loop of chat requests. A round's bill is the machine's
    price for its length, so costs are those of a machine that is kept full; --requests-per-hour gives them at other loads.
    The bill is divided between input and output by time: prefill's is that of the probe (prompts with one output token each), per
    token; the rest is output's. An answer is accepted when it met --slo and its row's check: "expect" (a regex) or "schema" (a JSON
    Schema). Without checks all answers have exactly --output-tokens. Intervals are 95 % bootstrap intervals over rounds and
    requests. The exit code is 1 when something makes the figures invalid.

    --savings goes on where the machines end: the last step's cost is divided by how many times cheaper the response cache, and then the
    router too, made an accepted answer by the prices of its tokens, on streams with --repeat-share of repeats. That assumes that tokens
    saved are machine time saved in proportion, and that the two tiers cost as those prices do; the result says so, and the steps are marked.
    """
    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.load.raw import samples_path, write_samples
    from pennyweight.bench.load.slo import parse_slo
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.result import Run, show
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.ledger.price_book import load_prices

    try:
        from pennyweight.bench.cost.plot import save_waterfall
        from pennyweight.bench.cost.workload import Workload
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'pennyweight[bench]'") from None
    from pennyweight.bench.cost.configuration import Entry, described, parse_entry, read_entries, resolve
    from pennyweight.bench.cost.measure import Plan
    from pennyweight.bench.cost.report import make_report
    from pennyweight.bench.cost.rounds import run_rounds
    from pennyweight.bench.cost.savings import read_savings
    from pennyweight.bench.cost.table import break_even_table, cost_table, load_table, savings_table
    from pennyweight.bench.peers.entry import Serving

    book = load_prices(prices)
    entries = [*([] if configs is None else read_entries(configs)), *map(parse_entry, config or ())]
    if url is not None:
        price = None if dollars_per_hour is None else Decimal(str(dollars_per_hour))
        entries.append(Entry(name=url, url=url, dollars_per_hour=price))
    if not entries:
        raise typer.BadParameter("name what to measure: --config, --configs or --url")
    # Not resolved: a link in an environment is what makes it one.
    python = vllm_python.absolute() if vllm_python else None
    serving = Serving(model, python, kv_cache_gib, llama_server, streams=concurrency)
    configurations = resolve(entries, serving, book)
    models = [book.model(id) for id in against] if against else list(book.models.values())
    try:
        plan = Plan(concurrency, processes, output_weight, parse_slo(slo or ()), seed)
        workload = Workload(
            prompts, output_tokens, system_prompt.read_text(encoding="utf-8") if system_prompt else None
        )
        anew = any(one.url for one in configurations)
        selections = workload.select(rounds, warm_up, probes, requests, seed, anew=anew)
        further = None if savings is None else read_savings(savings, repeat_share)
        versions = {one.peer.name: one.peer.version() for one in configurations if one.peer}
    except (ValueError, OSError, PeerFailed) as error:
        raise ConfigError(str(error)) from None
    run = Run(
        "cost",
        {
            "configurations": [described(one) for one in configurations],
            "plan": plan,
            **{"rounds": rounds, "requests": requests, "warm_up": warm_up, "probes": probes},
        },
    )
    measured = asyncio.run(until_terminated(run_rounds(configurations, workload, selections, plan)))
    if out is not None:
        for number, one in enumerate(measured):
            path = samples_path(out, number)
            write_samples(path, one.samples)
            one.raw_file = path.name
    report = make_report(configurations, measured, models, requests_per_hour or (), seed, further)
    division = "measured by a probe of prefill" if probes else f"an output token weighs {output_weight:g} input tokens"
    data = {"workload": workload.describe(), "slo": plan.slo, "division": division, **report.data()}
    if out is not None and report.steps:
        save_waterfall(out / "waterfall.svg", report.steps)
    result = run.result(data, versions=versions, complaints=report.complaints)
    tables = [cost_table(report), savings_table(report), load_table(report), break_even_table(report)]
    show(result, out, *(table for table in tables if table is not None))
    if not result.is_valid:
        sys.exit(1)
