"""``pennyweight cache``: what the semantic cache would do with questions of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STREAM, CACHE, BASELINES = "What is asked", "The cache", "What it is compared with"

cache = typer.Typer(
    name="cache",
    help="Look at the semantic response cache.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)


@cache.callback()
def _group() -> None:
    """A group also as long as it has one command."""


@cache.command("eval")
def evaluate(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="JSON Lines (.gz too) of question1, question2 and same.")
    ],
    known: Annotated[
        Path | None,
        typer.Option(
            help="Further pairs that are not asked, but say which questions are the same.",
            rich_help_panel=STREAM,
            show_default=False,
        ),
    ] = None,
    max_pairs: Annotated[
        int | None, typer.Option(min=1, help="The first of them.", rich_help_panel=STREAM, show_default=False)
    ] = None,
    bound: Annotated[
        list[float],
        typer.Option(min=0.0001, max=0.99, help="Share of wrong hits; may be repeated.", rich_help_panel=CACHE),
    ] = [0.01, 0.05],  # noqa: B006
    audit_share: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Of would-be hits, generated and judged.", rich_help_panel=CACHE),
    ] = 0.1,
    embedder: Annotated[
        str, typer.Option(help="A directory or a name, as serve takes it.", rich_help_panel=CACHE)
    ] = "all-minilm-l6-v2",
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="A file that keeps the questions' vectors from one run to the next.",
            rich_help_panel=CACHE,
            show_default=False,
        ),
    ] = None,
    static_sweep: Annotated[
        str, typer.Option(help="Fixed thresholds, in steps of 0.01.", rich_help_panel=BASELINES)
    ] = "0.80..0.99",
    characters: Annotated[
        bool, typer.Option(help="TF-IDF of characters at 0.90 as well.", rich_help_panel=BASELINES)
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the result and a page with plots.", show_default=False)
    ] = None,
) -> None:
    """Replay labelled pairs of questions as requests, and say how often they are answered from the cache and how often wrongly.

    \b
        pennyweight cache eval pairs.jsonl.gz --bound 0.01 --out results/semantic

    Of each pair the first question has been answered before and is kept; the second is asked. A hit on its partner is
    right if the pair is the same, a hit on another question if both are joined by pairs that are the same, and else
    wrong. What is no hit is kept too. A second question that came before to the letter is left out: it is the exact
    cache's.

    Each bound is tried over all requests and over hits alone, by the policy that serves; for what it generates, the
    labels judge. Beside it stands the best of the fixed thresholds that keep the bound, chosen after the fact.
    Intervals are 95 % bootstrap intervals over requests.
    """
    import asyncio

    import aiohttp

    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.result import Run, show
    from pennyweight.bench.semantic.evaluation import evaluate as evaluate_stream
    from pennyweight.bench.semantic.neighbours import Neighbours
    from pennyweight.bench.semantic.pairs import Stream, read_pairs
    from pennyweight.bench.semantic.sweep import read_sweep
    from pennyweight.bench.semantic.table import bounds_table, sweep_table
    from pennyweight.bench.semantic.vectors import embed, read_vectors, write_vectors
    from pennyweight.bench.stage_progress import told
    from pennyweight.server.errors import ConfigError

    run = Run(
        "semantic-cache",
        {
            "pairs": pairs,
            "known": known,
            "max_pairs": max_pairs,
            "bounds": bound,
            "audit_share": audit_share,
            "embedder": embedder,
            "static_sweep": static_sweep,
            "seed": seed,
        },
    )
    try:
        sweep = read_sweep(static_sweep)
        read = read_pairs(pairs)
        stream = Stream(read[:max_pairs], (*read[max_pairs or len(read) :], *(read_pairs(known) if known else ())))
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if not stream.requests:
        raise ConfigError(f"{pairs} has no second question that was not asked before")
    with told() as tell:
        total = len(stream.texts)
        found = read_vectors(vectors, embedder, stream.texts) if vectors else None
        if found is None:
            try:
                found = asyncio.run(embed(embedder, stream.texts, lambda done: tell("vectors", done, total)))
            except (PeerFailed, aiohttp.ClientError) as error:
                raise ConfigError(f"{embedder} makes no vectors: {error}") from None
            if vectors:
                write_vectors(vectors, embedder, stream.texts, found)
        asked = len(stream.requests)
        neighbours = Neighbours(stream, found, lambda done: tell("neighbours", done, asked))
        evaluation = evaluate_stream(
            stream,
            neighbours,
            sorted(set(bound)),
            sweep,
            audit_share=audit_share,
            characters=characters,
            seed=seed,
            tell=tell,
        )
    broken = tuple(
        f"the bound of {one.bound:.2%} of {one.over} was not kept" for one in evaluation.bounded if not one.is_kept
    )
    show(
        run.result({"evaluation": evaluation}, versions={}, complaints=broken),
        out,
        bounds_table(evaluation),
        sweep_table(evaluation),
    )
    if out is not None:
        try:
            typer.echo(write_report([out], out), err=True)
        except NoMatplotlib as error:
            typer.echo(f"no page was written: {error}", err=True)
