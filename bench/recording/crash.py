"""A recording through a sudden end of the server: what clients were told, and what is in the files and can be run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.bench.peers.counters import counters_of
from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.session import session_of
from pennyweight.bench.replay.client import connected
from pennyweight.bench.replay.comparison import Comparison
from pennyweight.bench.replay.pace import Pace
from pennyweight.bench.replay.recording import Recording
from pennyweight.bench.replay.run import Replay
from pennyweight.bench.replay.verdict import Verdict
from pennyweight.bench.stage_progress import Tell

from .load import Answered, Load, Told
from .served import Served

GENERATIONS = "request_success_total"


class _Killed(Exception):
    """The server was killed, as was wanted."""


async def record(
    served: Served, directory: Path, wanted: Sequence[dict[str, Any]], kill_after: int, streams: int, tell: Tell
) -> list[list[Answered]]:
    """Ask everything of a server that is killed (SIGKILL) once it has answered ``kill_after``, and the rest of another one in its place.

    What each of the two answered. Raises PeerFailed.
    """
    left = iter(wanted)
    found: list[list[Answered]] = []
    done = 0
    for is_last in (False, True):
        try:
            async with running(served.serve(directory)) as server:

                def on_done(pid: int = server.pid, may_kill: bool = not is_last) -> None:
                    nonlocal done
                    done += 1
                    tell("recording", done, len(wanted))
                    if may_kill and done == kill_after:
                        os.kill(pid, signal.SIGKILL)

                async with session_of(server.url) as session:
                    load = Load(session, left, streams, on_done)
                    found.append(load.answered)
                    await load.run()
                if not is_last:
                    raise _Killed
        except _Killed:
            continue
    return found


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, told and kept. ``lost`` were acknowledged and are in no file; it must be 0. ``beyond`` are in the files though nobody
    was told so: their clients were told that it took too long, or the server's end came first.

    ``file_bytes`` are of all files, ``torn`` the files that end in the middle of a line.
    """

    asked: int
    answered: int
    acknowledged: int
    unacknowledged: int
    broken: int
    lost: int
    beyond: int
    records: int
    torn: int
    file_bytes: int


def keep_of(directory: Path, answered: Sequence[Answered]) -> Kept:
    """Holds the files against what clients were told. Raises ConfigError for files that can't be read."""
    recording = Recording(directory)
    survey = recording.survey()
    ids = {one.record.id for one in recording}
    acknowledged = {one.id for one in answered if one.told is Told.RECORDED}
    broken = sum(one.told is Told.BROKEN for one in answered)
    return Kept(
        asked=len(answered),
        answered=len(answered) - broken,
        acknowledged=len(acknowledged),
        unacknowledged=len(answered) - broken - len(acknowledged),
        broken=broken,
        lost=len(acknowledged - ids),
        beyond=len(ids - acknowledged),
        records=survey.records,
        torn=survey.torn,
        file_bytes=sum(one.stat().st_size for one in directory.iterdir()),
    )


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What replaying all records came to: ``bitwise`` of ``requests`` had the same tokens and the same bits of all logits.

    ``generations`` are those that the replaying engine counted. ``others`` has the verdicts and reasons of those that were not equal.
    """

    requests: int
    bitwise: int
    acknowledged: int
    acknowledged_bitwise: int
    tokens: int
    generations: int
    others: dict[str, int]


async def replay(directory: Path, served: Served, acknowledged: Collection[str], streams: int, tell: Tell) -> Replayed:
    """Run every record again on another server of the same model, which doesn't record. Raises PeerFailed."""
    equal: set[str] = set()
    others: dict[str, int] = {}
    recording = Recording(directory)
    total = recording.survey().records

    def keep(found: Comparison) -> None:
        if found.verdict is Verdict.BITWISE:
            equal.add(found.id)
        else:
            name = ": ".join(filter(None, (found.verdict.value, found.reason)))
            others[name] = others.get(name, 0) + 1
        tell("replaying", len(equal) + sum(others.values()), total)

    async with (
        running(served.serve()) as server,
        connected(server.url) as client,
        session_of(server.url) as session,
    ):
        replayed = Replay(client, keep, show=0)
        before = await counters_of(session)
        await replayed.run(recording, Pace(streams))
        after = await counters_of(session)
    return Replayed(
        requests=replayed.totals.requests,
        bitwise=len(equal),
        acknowledged=len(acknowledged),
        acknowledged_bitwise=len(equal.intersection(acknowledged)),
        tokens=replayed.totals.matched,
        generations=round(after[GENERATIONS] - before.get(GENERATIONS, 0.0)),
        others=others,
    )
