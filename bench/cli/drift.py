"""``pennyweight drift``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

drift = typer.Typer(name="drift", add_completion=False, rich_markup_mode="rich")


@drift.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A URL, or what serve takes, quoted: a model and flags.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    recording: Annotated[Path, typer.Option(help="A recording's file or directory, or an exported request.")],
    limit: Annotated[int, typer.Option(min=1, help="The first so many requests.")] = 200,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests at once.")] = 8,
    top: Annotated[int, typer.Option(min=1, help="Of each place so many tokens are asked for.")] = 20,
    key_file: Annotated[
        Path | None, typer.Option(help="With the key of an encrypted recording.", show_default=False)
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="The environment variable with the servers' API key.")
    ] = "PENNYWEIGHT_REPLAY_KEY",
    show: Annotated[int, typer.Option(min=0, max=1000, help="Answers that part, with their texts.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the result and a page with plots.", show_default=False)
    ] = None,
) -> None:
    """Compare two engines, versions or quantisations on recorded requests: where their answers part, and how far their logits are.

    \b
        pennyweight drift smollm2-135m-instruct "smollm2-135m-instruct --dtype int8" --recording recordings/ --out results/drift
        pennyweight drift http://127.0.0.1:8000 http://127.0.0.1:8001 --recording recordings/

    What is no URL is started, A first and then B, alone on the machine. Each answers the recorded prompts greedily, as long as the
    recorded answers are; how long both say the same is compared. Then each reads the recorded answers as part of the prompt
    (prompt_logprobs): how often the most probable token is the same, how far the log-probabilities of the recorded tokens are, and how
    far the distributions, of which the most probable tokens are known (a divergence that is at least so great).
    Intervals are 95 % bootstrap intervals over requests.
    """
    import asyncio
    import os

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.drift.measure import Plan, measure
    from pennyweight.bench.drift.table import tables
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.replay.client import NoServer
    from pennyweight.bench.replay.engine import read_engine
    from pennyweight.bench.replay.recording import Recording
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.result import Run
    from pennyweight.bench.result import show as show_result
    from pennyweight.bench.stage_progress import told
    from pennyweight.server.errors import ConfigError

    records = Recording(recording, limit=limit, key_file=key_file)
    survey = records.survey()
    engines = read_engine(one), read_engine(other)
    run = Run(
        "drift",
        {"recording": recording, "limit": limit, "concurrency": concurrency, "top": top, "seed": seed},
    )
    key = os.environ.get(api_key_env)
    try:
        with told() as tell:
            plan = Plan(concurrency=concurrency, top=top, show=show, seed=seed)
            work = measure(engines, records, survey.records, key, plan, tell)
            found = asyncio.run(until_terminated(work))
    except (PeerFailed, NoServer) as error:
        raise ConfigError(str(error)) from None
    except KeyboardInterrupt:
        typer.echo("pennyweight drift: interrupted", err=True)
        raise typer.Exit(1) from None
    complaints = () if found.requests else ("no request was answered by both",)
    show_result(run.result({"drift": found}, versions={}, complaints=complaints), out, *tables(found))
    if out is not None:
        try:
            typer.echo(write_report([out], out), err=True)
        except NoMatplotlib as error:
            typer.echo(f"no page was written: {error}", err=True)
