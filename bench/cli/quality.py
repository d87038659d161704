"""``pennyweight quantize eval``: the quality gate's command, which shows its result as every benchmark does."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

HELD, GATE, COMPUTING, SPEED = "What is asked", "The gate", "How the models compute", "Speed and cost"


def evaluate(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The model that was quantised: a directory, .gguf file or name.")
    ],
    quantised: Annotated[str, typer.Argument(metavar="QUANTISED", help="What was made of it.")],
    text: Annotated[
        Path | None,
        typer.Option(help="Held text. By default a shipped sample.", rich_help_panel=HELD, show_default=False),
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option(
            help="Questions in JSON Lines with question, choices and answer (or prompt, which lists A to D). By default a shipped set.",
            rich_help_panel=HELD,
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Users' prompts for greedy answers, in the forms of bench serve. By default a shipped handful.",
            rich_help_panel=HELD,
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=2, help="Tokens of text that are read at once.", rich_help_panel=HELD)
    ] = 512,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Of the text; all by default.", rich_help_panel=HELD, show_default=False)
    ] = None,
    max_questions: Annotated[
        int, typer.Option(min=0, help="Spread over the file; 0: none.", rich_help_panel=HELD)
    ] = 100,
    max_prompts: Annotated[int, typer.Option(min=0, help="Spread over the file; 0: none.", rich_help_panel=HELD)] = 20,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Of a greedy answer, at most.", rich_help_panel=HELD)] = 64,
    min_top1: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Top-1 agreement. By default 0.97 for 8 bits.", rich_help_panel=GATE, show_default=False
        ),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option(min=0, help="Nats a token. By default 0.01 for 8 bits.", rich_help_panel=GATE, show_default=False),
    ] = None,
    max_perplexity_ratio: Annotated[
        float | None,
        typer.Option(
            min=0, help="To the base's. By default 1.08 for 4 bits.", rich_help_panel=GATE, show_default=False
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="4 or 8: whose defaults count. By default those of config.json, 8 where it says nothing (GGUF).",
            rich_help_panel=GATE,
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        bool, typer.Option(help="Write scores and verdict beside the weights.", rich_help_panel=GATE)
    ] = True,
    base_dtype: Annotated[str, typer.Option(help="As serve's --dtype.", rich_help_panel=COMPUTING)] = "auto",
    dtype: Annotated[str, typer.Option(help="Of the quantised model.", rich_help_panel=COMPUTING)] = "auto",
    kv_cache_dtype: Annotated[
        str, typer.Option(help="The same; the manifest is left alone then.", rich_help_panel=COMPUTING)
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=COMPUTING)] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of each model. By default half of the cores.", rich_help_panel=COMPUTING, show_default=False
        ),
    ] = None,
    speed: Annotated[bool, typer.Option(help="Serve both and load them as well.", rich_help_panel=SPEED)] = True,
    streams: Annotated[
        list[int], typer.Option(min=1, help="Requests at once; may be repeated.", rich_help_panel=SPEED)
    ] = [1, 8],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, rich_help_panel=SPEED)] = 3,
    dollars_per_hour: Annotated[
        float | None,
        typer.Option(
            min=0, help="What the machine costs, for the cost of tokens.", rich_help_panel=SPEED, show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the result and a page with plots.", show_default=False)
    ] = None,
) -> None:
    """Judge a quantised model by the model that it was made from, and say whether it may be served.

    \b
        pennyweight quantize eval smollm2-135m-instruct ./smollm2-w8a8 --out results/w8a8
        pennyweight quantize eval smollm2-135m-instruct smollm2-135m-instruct --dtype int8 --no-speed
        pennyweight quantize eval smollm2-135m-instruct smollm2-135m-instruct --kv-cache-dtype int8 --no-speed

    Both are computed side by side by the native engine's own kernels, the ones that serve: at every position of the
    held text their whole distributions are compared, in float64. Measured are perplexity, the Kullback-Leibler
    divergence from the base (in nats) and how often both find the same token most probable; the accuracy on
    multiple-choice questions, by the log-likelihood of a choice for each of its bytes; how many greedy answers are
    equal and how long they stay so; sizes; and tokens/s, memory and cost, served by the real server one after the
    other in rounds. Intervals are 95 % bootstrap intervals over windows of the text, questions and prompts: few of
    them say little of how they differ.

    The gate asks for what is given, or by default for what a checkpoint of so many bits should reach. Scores and
    verdict are written into pennyweight-quantization.json beside the quantised weights, and `pennyweight serve`
    refuses what failed. The exit code is 1 when the gate fails. Text that the model was calibrated on is no held
    text: name another by --text.
    """
    import msgspec

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.quality.held import HeldFiles
    from pennyweight.bench.quality.models import Computing, Variant, start, versions
    from pennyweight.bench.quality.report import Evaluation
    from pennyweight.bench.quality.speed import Serving, measure_speed
    from pennyweight.bench.quality.table import quality_table, speed_table
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.result import Run, show
    from pennyweight.bench.stage_progress import told
    from pennyweight.quantize.manifest import ManifestError, record_scores
    from pennyweight.quantize.quality.evaluation import Extent, Incomparable
    from pennyweight.quantize.quality.evaluation import evaluate as evaluate_models
    from pennyweight.quantize.quality.gate import BY_BITS, judge, weight_bits
    from pennyweight.quantize.quality.scored_model import ModelFailed
    from pennyweight.server.errors import ConfigError

    if bits is not None and bits not in BY_BITS:
        raise typer.BadParameter(f"--bits is {bits}; it must be one of {', '.join(map(str, sorted(BY_BITS)))}")
    pair = (
        Variant(model=base, dtype=base_dtype),
        Variant(model=quantised, dtype=dtype, kv_cache_dtype=kv_cache_dtype),
    )
    cores = len(os.sched_getaffinity(0))
    computing = Computing(device=device, threads=threads or max(1, cores // 2), window=window)
    extent = Extent(window=window, max_tokens=max_tokens, answer_tokens=answer_tokens, seed=seed)
    files = HeldFiles(text=text, choices=choices, prompts=prompts, max_questions=max_questions, max_prompts=max_prompts)
    run = Run("quality", {"models": pair, "held": files, "extent": extent, "computing": computing})
    try:
        held = files.read()
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from None
    try:
        with start(pair[0], computing) as of_base, start(pair[1], computing) as of_other, told() as tell:
            loaded = of_base.loaded, of_other.loaded
            scores = evaluate_models(of_base, of_other, held, extent, tell)
    except (ModelFailed, Incomparable) as error:
        raise ConfigError(str(error)) from None
    thresholds = BY_BITS[bits or weight_bits(loaded[1].quantization)].with_given(
        min_top1=min_top1, max_kl=max_kl, max_perplexity_ratio=max_perplexity_ratio
    )
    verdict = judge(scores.text, thresholds)
    found = Evaluation(base=loaded[0], quantised=loaded[1], held=held, scores=scores, verdict=verdict)
    paths = [Path(one.path) for one in loaded]
    # It is about the weights: not about the base's own in another precision, nor about how keys and values are kept.
    if manifest and paths[0] != paths[1] and paths[1].is_dir() and kv_cache_dtype == "auto":
        try:
            record_scores(paths[1], found.manifest_scores())
        except (ManifestError, OSError) as error:
            raise ConfigError(f"the scores can't be written (--no-manifest leaves that): {error}") from None
    served = None
    if speed:
        variants = [msgspec.structs.replace(one, model=str(path)) for one, path in zip(pair, paths, strict=True)]
        serving = Serving(
            base=variants[0],
            quantised=variants[1],
            device=device,
            streams=tuple(sorted(set(streams))),
            rounds=rounds,
            dollars_per_hour=dollars_per_hour,
            seed=seed,
        )
        try:
            served = asyncio.run(until_terminated(measure_speed(serving)))
        except (BadAnswer, ValueError) as error:
            typer.echo(f"the speed can't be measured: {error}", err=True)
        except KeyboardInterrupt:  # what was found before is not lost
            typer.echo("the speed was not measured: interrupted", err=True)
    tables = [quality_table(found), *([speed_table(served)] if served is not None else [])]
    show(run.result(found.data(served), versions=versions(loaded[1])), out, *tables)
    if out is not None:
        try:
            typer.echo(write_report([out], out), err=True)
        except NoMatplotlib as error:
            typer.echo(f"no page was written: {error}", err=True)
    if not verdict.is_passed:
        sys.exit(1)
