"""``bench gpu`` against a real server, and how it finds one."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from pathlib import Path

import pytest
from fakes.server_process import server_process
from rich.console import Console

from pennyweight.bench.gpu.measurement import DeviceOptions, measure_devices
from pennyweight.bench.gpu.server import server_pid
from pennyweight.bench.gpu.table import make_table
from pennyweight.bench.load.choice import Arrivals, Source
from pennyweight.bench.load.endpoint import find_endpoint
from pennyweight.bench.load.view import View


def test_a_server_here_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert server_pid(f"http://127.0.0.1:{port}") == os.getpid()
        assert server_pid(f"http://localhost:{port}/v1") == os.getpid()
    assert server_pid(f"http://127.0.0.1:{port}") is None
    assert server_pid("http://192.0.2.1:80") is None


@pytest.mark.slow
@pytest.mark.parametrize("is_here", [True, False])
async def test_a_native_server_on_processors_has_everything_that_they_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_here: bool
) -> None:
    if not is_here:
        monkeypatch.setattr("pennyweight.bench.gpu.measurement.server_pid", lambda url: None)
    async with server_process(telemetry={"interval": 0.2}) as server:
        async with asyncio.timeout(250):
            measured = await measure_devices(
                lambda: find_endpoint(server.url),
                Source(input_tokens="24", output_tokens="8"),
                Arrivals(concurrency=("1,2",)),
                DeviceOptions(interval=0.2, peak_flops=None if is_here else 1e13, dollars_per_hour=3.6),
                View(Console(file=io.StringIO())),
                tmp_path,
                requests=4,
                warmup_requests=1,
            )
    assert [one.point.load.concurrency for one in measured.points] == [1, 2]  # type: ignore[union-attr]
    assert measured.precision == "bfloat16"
    for one in measured.points:
        used, split = one.utilisation, one.time_split
        assert used["mfu"]
        assert (used["mbu"] is not None) == is_here
        assert used["cpu"] is not None
        assert one.counts["prefill_tokens"] == 4 * 24
        assert one.counts["decode_tokens"] == 4 * 7
        assert split["prefill"]
        assert split["decode"]
        assert split["recompute"] == 0
        duration = one.point.summary.duration
        assert split["prefill"] + split["decode"] + (split["idle"] or 0) == pytest.approx(duration, rel=0.1)
        tokens = one.point.summary.total_throughput
        assert one.dollars_per_million_total == pytest.approx(3.6 / 3600 / tokens * 1e6)
    assert {"at", "device", "cpu"} <= measured.describe()["timeline"][-1].keys()
    assert make_table(measured.points, measured.device, measured.precision, measured.peak).row_count == 2
