"""The frontend benchmark: its servers answer right, its load counts right, and its rows say what they can."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec
import pytest

from pennyweight.bench.frontend.cores import Cores, choose_cores, cpu_seconds
from pennyweight.bench.frontend.load_client import Load, Report
from pennyweight.bench.frontend.measure import Measurement, Plan, measure
from pennyweight.bench.frontend.rounds import make_rows
from pennyweight.bench.frontend.table import make_table
from pennyweight.bench.frontend.targets import NullServer, Target, Upstream
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.litellm import LiteLlm
from pennyweight.bench.peers.process import running

STEP = 0.001
PLAN = Plan(tokens=4, stream_tokens=8, seconds=0.3, warm_up=0.1)


def measurement(target: Target, connections: int, *, latency: float, share: float) -> Measurement:
    return Measurement(
        target=target.label,
        connections=connections,
        requests_per_second=100.0,
        cpu_us_per_request=200.0,
        server_share=share,
        load_share=0.1,
        latency_p50=latency,
        latency_p99=2 * latency,
        tokens_per_second=1000.0,
        cpu_us_per_streamed_token=10.0,
        cpu_us_per_ready_token=5.0,
        failed=0,
    )


def test_latency_is_added_to_the_upstreams_and_a_saturated_core_is_told() -> None:
    ours, upstream = Target(NullServer(STEP)), Upstream(STEP)
    found = [
        measurement(ours, 1, latency=0.003, share=0.95),
        measurement(Target(upstream), 1, latency=0.001, share=0.2),
    ]
    row, floor = make_rows([ours], upstream, found)
    assert row.added_p50 == pytest.approx(0.002)
    assert row.added_p99 == pytest.approx(0.004)
    assert row.is_saturated
    assert floor.added_p50 == 0
    assert not floor.is_saturated
    assert make_table([row, floor], 1).row_count == 2


def test_of_an_engine_that_computes_no_rate_is_given() -> None:
    front, upstream = Target(NullServer(STEP), own_process_only=True, is_idle_engine=False), Upstream(STEP)
    found = [
        measurement(front, 1, latency=0.003, share=0.95),
        measurement(Target(upstream), 1, latency=0.001, share=0.2),
    ]
    row = make_rows([front], upstream, found)[0]
    assert (row.requests_per_second, row.added_p50, row.is_saturated) == (None, None, False)
    assert row.cpu_us_per_request == 200.0


def test_a_compromised_release_of_litellm_is_not_run(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 1.82.8\n")
    python.chmod(0o755)
    with pytest.raises(PeerFailed, match="compromised"):
        LiteLlm(python, tmp_path / "config", "http://127.0.0.1:1", ("m",)).version()


def test_litellm_passes_every_model_on(tmp_path: Path) -> None:
    peer = LiteLlm(tmp_path / "python", tmp_path / "config", "http://127.0.0.1:1", ("a", "b"))
    peer.command(2)
    text = (tmp_path / "config").read_text()
    assert '"openai/a"' in text
    assert '"openai/b"' in text


async def test_cpu_seconds_are_those_of_the_process_alone_or_with_its_children() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; read x", stdin=-1
    )
    await asyncio.sleep(0.5)
    try:
        assert 0 < cpu_seconds(process.pid, own_process_only=True) < 0.6
        assert cpu_seconds(process.pid, own_process_only=False) > 0
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        Target(NullServer(STEP)),
        Target(NullServer(STEP, is_cached=True)),
        Target(NullServer(STEP, is_routed=True), prefix="auto:", is_varied=True),
        Target(Upstream(STEP)),
    ],
    ids=lambda target: target.label,
)
async def test_a_server_is_measured(target: Target) -> None:
    try:
        cores = choose_cores()
    except ValueError:
        cores = Cores(0, 0, 0)
    async with running(target.peer) as server:
        found = await measure(target, server, PLAN, cores, 3)
    assert found.failed == 0
    assert found.requests_per_second > 0
    assert found.tokens_per_second > 0
    assert found.cpu_us_per_request > 0
    assert 0 < found.latency_p50 <= found.latency_p99


async def test_a_slow_server_is_measured_until_it_has_answered_every_connection() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Closed also where the test ends in the middle of an answer.
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"{}"):
                await asyncio.sleep(0.4)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        load = Load(port=port, path="/", body="{}", connections=3, warm_up=0.0, seconds=0.05)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pennyweight.bench.frontend.load_client", msgspec.json.encode(load).decode()),
            stdout=asyncio.subprocess.PIPE,
        )
        written, _ = await client.communicate()
    report = msgspec.json.decode(written.splitlines()[-1], type=Report)
    assert report.answers >= 3
    assert load.seconds <= report.seconds < 10
    assert report.latency_p50 is not None
