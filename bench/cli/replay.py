"""``pennyweight replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WHAT, HOW = "What is run", "How"

replay = typer.Typer(name="replay", add_completion=False, rich_markup_mode="rich")


@replay.command()
def run(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|DIR|CASE", help="A recording's file or directory, or an exported request.")
    ],
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Of requests or answers; all of them otherwise.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A URL, or what serve takes, quoted: a model or a configuration file, and flags.",
            rich_help_panel=WHAT,
            show_default="the recorded model, in its precision",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first of them.", rich_help_panel=WHAT, show_default=False)
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(help="The prompt of a case without it.", rich_help_panel=WHAT, show_default=False),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="With the key of an encrypted recording.", rich_help_panel=WHAT, show_default=False),
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="The environment variable with the server's API key.", rich_help_panel=WHAT)
    ] = "PENNYWEIGHT_REPLAY_KEY",
    bitwise: Annotated[
        bool, typer.Option("--bitwise", help="Exit with 1 unless everything is bitwise equal.", rich_help_panel=HOW)
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Requests at once.", rich_help_panel=HOW)] = 1,
    trace: Annotated[bool, typer.Option("--trace", help="At the recorded arrival times.", rich_help_panel=HOW)] = False,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Of --trace: so many times as fast.", rich_help_panel=HOW)
    ] = 1.0,
    show: Annotated[int, typer.Option(min=0, max=1000, help="Divergences, with their texts.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(help="A directory for the result and what became of each request.", show_default=False),
    ] = None,
) -> None:
    """Run recorded requests again, and say whether the answers are the same to the bit, or from which token on they differ.

    \b
        pennyweight replay recordings/
        pennyweight replay recordings/ 6f0c... --against http://127.0.0.1:8000 --bitwise
        pennyweight replay recordings/ --against "server.yaml --max-num-seqs 8" --concurrency 32
        pennyweight replay case.json --against "smollm2-135m-instruct --dtype int8"

    Each request is sent as it was received, body and headers, but for this: it is not streamed and has no time limit, passes the
    response cache by (Cache-Control: no-store), carries the seed that was drawn for it and asks for the mode of determinism that was
    honoured, and for token ids and hashes of the logits. What the response cache took part in is sent once more as it was,
    to a cache that is empty at first: the key and the answer are compared, and whether it was found is told. Answers of the semantic cache,
    which were other questions', and failures by no fault of the request are not compared.

    Where logits aren't equal to the bit, the recorded answer is read as part of the prompt: how many of its tokens are the
    most probable ones (of greedy requests), and how far their log-probabilities are from the recorded ones (where the client asked for any).
    Manifests that differ are compared part by part.
    """
    import asyncio
    import os
    import sys

    import msgspec

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.replay.client import NoServer
    from pennyweight.bench.replay.comparison import Comparison
    from pennyweight.bench.replay.engine import engine_of, read_engine
    from pennyweight.bench.replay.kept import kept
    from pennyweight.bench.replay.pace import Pace
    from pennyweight.bench.replay.recording import Recording
    from pennyweight.bench.replay.run import Replay
    from pennyweight.bench.replay.table import tables
    from pennyweight.bench.replay.totals import Totals
    from pennyweight.bench.replay.trouble import troubles
    from pennyweight.bench.result import Run
    from pennyweight.bench.result import show as show_result
    from pennyweight.bench.stage_progress import told
    from pennyweight.server.errors import ConfigError

    if concurrency > 1 and trace:
        raise typer.BadParameter("--trace says when requests are sent: leave --concurrency out")
    recording = Recording(source, ids or (), limit=limit, key_file=key_file, prompt=prompt)
    survey = recording.survey()
    engine = engine_of(survey) if against is None else read_engine(against)
    pace = Pace(concurrency, speed if trace else None)
    measured = Run(
        "replay",
        {
            "source": source,
            "ids": ids or [],
            "against": engine.text,
            "limit": limit,
            "bitwise": bitwise,
            "pace": msgspec.to_builtins(pace),
        },
    )
    totals, interrupted, lag, waived = Totals(), False, 0.0, dict[str, str]()

    async def work() -> None:
        nonlocal totals, lag, waived
        async with engine.reached(os.environ.get(api_key_env)) as client:
            with told() as tell, kept(out) as write:

                def keep(found: Comparison) -> None:
                    write(found)
                    tell("requests", totals.requests, survey.records)

                running = Replay(client, keep, show=show)
                totals, waived = running.totals, client.waived
                await running.run(recording, pace)
                lag = running.lag

    try:
        asyncio.run(until_terminated(work()))
    except KeyboardInterrupt:
        interrupted = True
    except (PeerFailed, NoServer) as error:
        raise ConfigError(f"{engine.text}: {error}") from None
    if not totals.requests:
        typer.echo("pennyweight replay: interrupted before anything was run", err=True)
        raise typer.Exit(1)
    data = {
        "totals": totals,
        "bitwise": totals.is_bitwise,
        "top1_agreement": totals.agreement.share,
        "mean_logprob_difference": totals.agreement.mean_difference,
        "waived": waived,
        "lag_seconds": lag,
    }
    found = measured.result(
        data, versions={}, complaints=tuple(troubles(totals, waived, survey, lag, interrupted=interrupted))
    )
    show_result(found, out, *tables(totals))
    if bitwise and (interrupted or not totals.is_bitwise):
        sys.exit(1)
