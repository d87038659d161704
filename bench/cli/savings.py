"""``pennyweight bench savings``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def savings(
    prompts: Annotated[Path, typer.Option(help="Real prompts: JSON Lines (.gz too) or one a line of a .txt.")],
    trace: Annotated[
        Path | None, typer.Option(help="Recorded traffic, for the times of arrival; without it they are Poisson's.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.01, help="Requests a second, to which the trace is compressed (or stretched).")
    ] = 4.0,
    requests: Annotated[int, typer.Option(min=2, help="Of each stream.")] = 30,
    repeat_share: Annotated[
        list[float] | None,
        typer.Option(min=0, max=0.99, help="Of a stream's requests; may be repeated. 0, 0.2 and 0.5 by default."),
    ] = None,
    repeats: Annotated[str, typer.Option(help="What is repeated of what was asked: zipf or uniform.")] = "zipf",
    zipf_exponent: Annotated[float, typer.Option(min=0)] = 1.0,
    policy: Annotated[
        str | None, typer.Option(help="The router's: length or learned, which is the default with --router.")
    ] = None,
    router: Annotated[Path | None, typer.Option(help="A directory made by `pennyweight router train`.")] = None,
    strong_share: Annotated[float, typer.Option(help="Of the prompts, for the dear tier.")] = 0.1,
    cheap_price: Annotated[str, typer.Option(help="A model of the price book.")] = "anthropic-claude-haiku-5.5",
    dear_price: Annotated[str, typer.Option(help="Another, the upstream's too.")] = "anthropic-claude-opus-5.5",
    prices: Annotated[
        Path | None, typer.Option(envvar="PENNYWEIGHT_PRICES", help="Prices of your own (see pennyweight prices).")
    ] = None,
    model: Annotated[str, typer.Option(help="What both tiers serve.")] = "smollm2-135m-instruct",
    cheap_dtype: Annotated[str, typer.Option()] = "int8",
    dear_dtype: Annotated[str, typer.Option()] = "bfloat16",
    kv_cache: Annotated[str, typer.Option(help="Of each model.")] = "1GiB",
    output_tokens: Annotated[int, typer.Option(min=1, help="The most of an answer.")] = 64,
    warm_up: Annotated[int, typer.Option(min=1, help="Requests to each model before the streams.")] = 4,
    hits: Annotated[int, typer.Option(min=0, help="Requests that measure what a hit takes.")] = 300,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    processes: Annotated[int, typer.Option(min=0, help="The client's own; 0: this one.")] = 0,
    slo: Annotated[list[str] | None, typer.Option(help="For accepted answers: ttft:500ms,tpot:50ms,e2e:10s.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for the result, the samples and a page.")] = None,
) -> None:
    """What the response cache and the router save of an accepted answer's cost by token prices, on streams with repeats.

    \b
        pennyweight bench savings --prompts prompts.jsonl.gz --trace azure.csv.gz --router router/ --out results/savings

    Four steps: everything off (all requests go to the dear tier), the response cache, the router, both. Each is a Pennyweight
    server that is started for each round, with one model in two precisions as its tiers: int8 at --cheap-price, bfloat16 at
    --dear-price. A second server on this machine stands for a hosted upstream, to which the dear tier falls back at its price.

    A request costs its tokens at the prices of the model that answered; prompt tokens from the prefix cache at the price for
    cached input. Answers of the response cache cost nothing; the CPU time that they take is given beside. An answer is accepted
    when it is whole, within --slo, and passes its row's check, if any ("expect", a regex, or "schema", a JSON Schema). How
    many answers have the same words as the dear tier's, and their mean ROUGE-L, say what cheap answers cost in
    sameness; how good a bigger model's would be they don't say.

    Rounds are interleaved, each with prompts of its own, which all steps share. Of a stream exactly the repeat share repeats an
    earlier prompt, drawn by Zipf's law over those already asked. The router's threshold is set on prompts that are not
    measured; of each stream's distinct prompts exactly --strong-share (rounded) is above it. Intervals are 95 % bootstrap intervals over prompts. The exit code is 1 when something makes the figures
    invalid.
    """
    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.load.raw import samples_path, write_samples
    from pennyweight.bench.load.slo import parse_slo
    from pennyweight.bench.load.trace import mean_rate, part, read_trace
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.result import Run, show
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.ledger.price_book import load_prices

    try:
        from pennyweight.bench.savings.stream import Drawing, Workload, draw_streams, parse_popularity, stratified
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'pennyweight[bench]'") from None
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.savings.measure import Measured, Plan
    from pennyweight.bench.savings.policy import find_policy, parse_policy, prompt_scores
    from pennyweight.bench.savings.report import make_report
    from pennyweight.bench.savings.rounds import run_rounds
    from pennyweight.bench.savings.step import Prices, Serving
    from pennyweight.bench.savings.table import cost_table, waited_table

    book = load_prices(prices)
    of_models = Prices(book.model(cheap_price), book.model(dear_price))
    shares = tuple(sorted(set(repeat_share if repeat_share else (0.0, 0.2, 0.5))))
    try:
        drawing = Drawing(requests, shares, rate, parse_popularity(repeats), zipf_exponent, seed)
        name = parse_policy(policy or ("length" if router is None else "learned"))
        limits = parse_slo(slo or ())
        workload = Workload(prompts, output_tokens)
        rows = part(read_trace(trace)) if trace is not None else []
        distinct = workload.distinct(seed)
        # The router is set on one half of the prompts and measured on the other.
        pool, before = distinct[: len(distinct) // 2], distinct[len(distinct) // 2 :]
        found_policy = find_policy(name, router, strong_share, workload, before)
        scores = zip(pool, prompt_scores(name, router, workload, pool), strict=True)
        dear = {row for row, score in scores if score >= found_policy.threshold}
        sizes = [drawing.distinct(share) for share in shares] * rounds
        streams, _ = draw_streams(drawing, stratified(pool, dear, sizes, strong_share, seed), rows, rounds)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from None
    serving = Serving(str(Path(model).absolute()) if Path(model).exists() else model, cheap_dtype, dear_dtype, kv_cache)
    plan = Plan(drawing, limits, processes, before[:warm_up], hits)
    run = Run(
        "savings",
        {"drawing": drawing, "policy": found_policy, "serving": serving, "slo": limits, "rounds": rounds, "hits": hits},
    )
    measured: list[Measured] = []
    kept: list[dict[str, Any]] = []

    def keep(one: Measured) -> None:
        measured.append(one)
        for each in one.streams:
            file = None if out is None else samples_path(out, len(kept))
            if file is not None:
                write_samples(file, each.samples)
            what = {"step": each.step, "round": each.round, "repeat_share": each.repeat_share}
            kept.append({**what, "repeats": each.stream.repeats, "samples": file and file.name})

    try:
        asyncio.run(until_terminated(run_rounds(serving, of_models, found_policy, workload, streams, plan, keep)))
    except PeerFailed as error:
        raise ConfigError(f"the upstream: {error}") from None
    report = make_report(measured, workload, of_models, limits, seed)
    data = {
        "workload": workload.describe(),
        "arrivals": {
            "trace": trace,
            "trace_rate": mean_rate(rows) if rows else None,
            "rate": rate,
            "compressed_by": 1 / drawing.stretch(rows) if rows else None,
        },
        "prices": {"cheap": of_models.cheap, "dear": of_models.dear},
        "policy": found_policy,
        "streams": kept,
        **report.data(),
    }
    result = run.result(data, versions={}, complaints=report.complaints)
    typer.echo(
        f"cheap ({cheap_dtype}) at the prices of {cheap_price}: $ {of_models.cheap.input} in and {of_models.cheap.output} out a "
        f"million tokens; dear ({dear_dtype}), of {dear_price}: {of_models.dear.input} and {of_models.dear.output}; one model, "
        f"{model}, in two precisions",
        err=True,
    )
    show(result, out, cost_table(report.costs), waited_table(report.waited))
    if out is not None:
        try:
            typer.echo(write_report([out], out), err=True)
        except NoMatplotlib as error:
            typer.echo(f"no page was written: {error}", err=True)
    if not result.is_valid:
        sys.exit(1)
