"""``pennyweight bench recording``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def recording(
    prompts: Annotated[Path, typer.Option(help="Real prompts: JSON Lines (.gz too) or one a line of a .txt.")],
    model: Annotated[str, typer.Option(help="What serve takes.")] = "smollm2-135m-instruct",
    dtype: Annotated[str, typer.Option(help="As serve takes it.")] = "int8",
    requests: Annotated[int, typer.Option(min=2, help="To be recorded.")] = 10_000,
    kill_after: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="The share of them after which the server is killed (SIGKILL).")
    ] = 0.5,
    output_tokens: Annotated[int, typer.Option(min=1, help="The most of an answer.")] = 8,
    longest_prompt: Annotated[int, typer.Option(min=1, help="In characters; longer ones are left out.")] = 1000,
    streams: Annotated[int, typer.Option(min=1, max=1024, help="Requests at once.")] = 32,
    overhead_rounds: Annotated[int, typer.Option(min=0, help="For what recording takes; 0: that isn't measured.")] = 9,
    overhead_requests: Annotated[int, typer.Option(min=1, help="Of each round, on each of two servers.")] = 128,
    overhead_tokens: Annotated[int, typer.Option(min=1, help="The most of an answer of these.")] = 32,
    directory: Annotated[
        Path | None, typer.Option(help="For the recording, empty or new; by default one that is removed at the end.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Record a load whose server is killed in the middle of it, run all that was recorded again, and tell what recording takes.

    \b
        pennyweight bench recording --prompts prompts.jsonl.gz --out result
        pennyweight bench recording --prompts prompts.jsonl.gz --requests 400 --overhead-rounds 0

    Each prompt is asked eight times in a row, half of the answers greedy and half drawn with seeds that the server chooses, and of each
    half as streams. Once the given share has been answered the server is killed without warning, another one goes on in the same
    directory, and a third one, which doesn't record, runs every record again. An answer counts as acknowledged when it said that its
    record had been written (x-pennyweight-recorded, or a stream's last event).

    Then the same load on a server that records and on one that doesn't, in turns. The exit code is 1 when an acknowledged record is lost
    or its replay isn't bitwise equal.
    """
    settings = dict(locals())
    import tempfile
    from contextlib import nullcontext

    import msgspec

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.load.prompt_file import read_prompts
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.recording.account import Account, table
    from pennyweight.bench.recording.crash import keep_of, record, replay
    from pennyweight.bench.recording.load import Told, bodies
    from pennyweight.bench.recording.overhead import Round, measure_overhead, overhead_of
    from pennyweight.bench.recording.served import Served
    from pennyweight.bench.replay.client import NoServer
    from pennyweight.bench.result import Run, show
    from pennyweight.bench.stage_progress import told

    run = Run("recording", settings)
    try:
        rows = [row.messages for row in read_prompts(prompts)]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    rows = [row for row in rows if row and sum(len(str(one["content"])) for one in row) <= longest_prompt]
    if not rows:
        raise typer.BadParameter(f"no prompt of {prompts} has at most {longest_prompt} characters")
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise typer.BadParameter(f"{directory} isn't empty")
    # A model's directory is found from where this was started, which the server isn't.
    named = str(Path(model).absolute()) if Path(model).exists() else model

    async def measured(base: Path) -> Account:
        served = Served(model=named, dtype=dtype)
        with told() as tell:
            wanted = list(bodies(rows, requests, output_tokens))
            parts = await record(served, base / "recorded", wanted, max(round(requests * kill_after), 1), streams, tell)
            answered = [one for part in parts for one in part]
            kept = keep_of(base / "recorded", answered)
            acknowledged = {one.id for one in answered if one.told is Told.RECORDED and one.id is not None}
            replayed = await replay(base / "recorded", served, acknowledged, streams, tell)
            rounds: list[Round] = []
            failures: list[str] = []
            if overhead_rounds:
                try:
                    rounds = await measure_overhead(
                        served,
                        base / "overhead",
                        rows,
                        rounds=overhead_rounds,
                        requests=overhead_requests,
                        tokens=overhead_tokens,
                        streams=streams,
                        tell=tell,
                    )
                except PeerFailed as error:
                    # What was found before is kept.
                    failures.append(f"what recording takes could not be measured: {error}")
        return Account(
            prompts=len(rows),
            kept=kept,
            replayed=replayed,
            rounds=rounds,
            overhead=overhead_of(rounds) if rounds else None,
            failures=failures,
        )

    try:
        with (
            tempfile.TemporaryDirectory(prefix="pennyweight-recording-")
            if directory is None
            else nullcontext(directory) as base
        ):
            found = asyncio.run(until_terminated(measured(Path(base))))
    except (PeerFailed, NoServer) as error:
        typer.echo(f"pennyweight bench recording: {error}", err=True)
        raise typer.Exit(1) from None
    complaints = tuple(found.complaints)
    show(run.result(msgspec.structs.asdict(found), versions={}, complaints=complaints), out, table(found))
    if complaints:
        raise typer.Exit(1)
