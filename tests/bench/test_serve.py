"""The command, against a scripted server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp.test_utils import TestServer
from fakes.completion_server import CompletionServer
from fakes.tiny_words import save_word_tokenizer

from pennyweight.bench.load.raw import read_samples, samples_path
from pennyweight.bench.load.summary import summarise
from pennyweight.bench.result import read


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


@dataclass
class Bench:
    """Runs the command against a server, with its tokenizer."""

    server: CompletionServer
    options: list[str]

    async def start(self, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "pennyweight.server.cli", "bench", "serve", *self.options, *options],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
            env={**os.environ, "COLUMNS": "200"},
        )

    async def run(self, *options: str) -> Ran:
        process = await self.start(*options)
        out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    save_word_tokenizer(tmp_path / "tokenizer.json")
    server = CompletionServer()
    # Another's work on this machine is not what these tests look at: a late client has a test of its own.
    more = ["--tokenizer", str(tmp_path), "--input-tokens", "5", "--output-tokens", "4", "--max-lag", "60000"]
    async with TestServer(server.app()) as running:
        yield Bench(server, ["--url", str(running.make_url("/v1")), *more])


async def test_a_load_is_shown_returned_and_kept(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "result"
    ran = await bench.run(
        *["--rate", "20,40", "--requests", "10", "--slo", "ttft:10s,tpot:5s", "--warmup-requests", "3", "--out"],
        str(out),
    )
    assert ran.code == 0, ran.err
    data = ran.result["data"]
    assert (data["endpoint"]["model"], data["slo"]) == ("scripted", {"ttft": 10.0, "tpot": 5.0})
    assert data["workload"]["kind"] == "synthetic"
    assert [point["load"] for point in data["points"]] == [
        {"mode": "open", "rate": 20.0},
        {"mode": "open", "rate": 40.0},
    ]
    for number, point in enumerate(data["points"]):
        summary = point["summary"]
        assert (summary["completed"], summary["failed"], summary["input_tokens"], summary["output_tokens"]) == (
            10,
            0,
            50,
            40,
        )
        assert (summary["slo_attainment"], point["complaints"]) == (1.0, [])
        again = summarise(read_samples(samples_path(out, number)))
        assert again.output_throughput == pytest.approx(summary["output_throughput"])
    assert read(out).data == data
    assert read(out).settings["rate"] == ["20,40"]
    assert len(bench.server.bodies) == 3 + 20
    assert "20 requests/s, poisson: 10 done, 0 failed" in ran.err
    assert "throughput per second, latency in ms" in ran.out


@pytest.mark.slow
async def test_the_same_seed_sends_the_same_requests_at_the_same_times(bench: Bench, tmp_path: Path) -> None:
    sent, times = [], []
    for number, processes in enumerate(("1", "2")):
        bench.server.bodies.clear()
        out = tmp_path / str(number)
        options = "--rate 30 --requests 15 --seed 3 --warmup-requests 0 --cv 2 --processes"
        assert (await bench.run(*options.split(), processes, "--out", str(out))).code == 0
        sent.append(sorted(bench.server.bodies, key=str))
        times.append([sample.scheduled for sample in read_samples(samples_path(out, 0))])
    assert sent[0] == sent[1]
    assert times[0] == times[1]


@pytest.mark.slow
async def test_a_sweep_of_concurrency_ends_at_the_saturation(bench: Bench) -> None:
    ran = await bench.run(*["--sweep", "concurrency", "--requests", "12", "--warmup-requests", "0"])
    assert ran.code == 0, ran.err
    loads = [point["load"]["concurrency"] for point in ran.result["data"]["points"]]
    assert loads == [2**number for number in range(len(loads))]
    assert len(loads) > 2


@pytest.mark.slow
async def test_a_sweep_of_rates_goes_around_the_capacity(bench: Bench) -> None:
    ran = await bench.run(*["--sweep", "rate", "--max-concurrency", "4", "--requests", "12", "--warmup-requests", "0"])
    assert ran.code == 0, ran.err
    first, *others = ran.result["data"]["points"]
    capacity = first["summary"]["request_throughput"]
    assert [point["load"]["rate"] / capacity for point in others] == pytest.approx([0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1])


@pytest.mark.slow
async def test_a_stopped_client_makes_its_run_invalid(bench: Bench) -> None:
    """The client's processes are stopped for a while, as a machine that is too slow would do it."""
    running = await bench.start(*["--rate", "20", "--requests", "60", "--warmup-requests", "0", "--max-lag", "50"])
    while not bench.server.bodies:  # noqa: ASYNC110 (a list has no event)
        await asyncio.sleep(0.01)
    children = psutil.Process(running.pid).children(recursive=True)
    for child in children:
        child.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    for child in children:
        child.send_signal(signal.SIGCONT)
    out, err = await running.communicate()
    ran = Ran(running.returncode or 0, out.decode(), err.decode())
    assert ran.code == 1
    assert "the client sent late" in ran.result["complaints"][0]
    assert "INVALID: the client sent late" in ran.out
    assert ran.result["data"]["points"][0]["summary"]["lag"]["max"] > 0.5


async def test_failed_requests_make_a_run_invalid_and_say_why(bench: Bench) -> None:
    bench.server.error = True
    ran = await bench.run(*["--concurrency", "2", "--requests", "4", "--warmup-requests", "0"])
    assert ran.code == 1
    assert ran.result["data"]["points"][0]["summary"]["errors"] == {"stream_error": 4}
    assert "4 of 4 requests failed (4 x stream_error)" in ran.result["complaints"][0]
    assert "the engine has died" in ran.result["complaints"][0]


async def test_short_answers_make_a_run_invalid(bench: Bench) -> None:
    bench.server.short_by = 1
    ran = await bench.run(*["--concurrency", "2", "--requests", "4"])
    assert ran.code == 1
    assert "answers had 12 tokens where 16 were planned" in ran.result["complaints"][0]


@pytest.mark.slow
async def test_a_terminated_load_leaves_no_client_behind(bench: Bench) -> None:
    running = await bench.start(*["--concurrency", "2", "--requests", "5000", "--warmup-requests", "0"])
    while not bench.server.bodies:  # noqa: ASYNC110 (a list has no event)
        await asyncio.sleep(0.01)
    children = psutil.Process(running.pid).children(recursive=True)
    assert children
    running.terminate()
    _, err = await running.communicate()
    assert running.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in err
    assert b"leaked" not in err
    assert psutil.wait_procs(children, timeout=5)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_shows_what_has_been_measured(sent: signal.Signals, bench: Bench) -> None:
    running = await bench.start(*["--concurrency", "2,4", "--requests", "200", "--warmup-requests", "0"])
    assert running.stderr is not None
    while b"2 at once: 200 done" not in await running.stderr.readline():
        pass
    running.send_signal(sent)
    out, _ = await running.communicate()
    ran = Ran(running.returncode or 0, out.decode(), "")
    assert ran.code == 1
    assert len(ran.result["data"]["points"]) == 1
    assert "interrupted" in ran.result["complaints"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rate", "fast"], "'fast' is no rate; write 2"),
        ([], "say how requests arrive: --rate 2"),
        (["--rate", "1", "--endpoint", "embeddings"], "--endpoint is completions or chat"),
        (["--rate", "1", "--slo", "quick"], "'quick' is no objective; write ttft:500ms"),
        (["--rate", "1", "--extra-body", "{"], "--extra-body must be a JSON object"),
        (["--rate", "inf"], "Say --requests"),
        (["--rate", "1", "--model", "another"], "http_4xx: .*no such model"),
        (["--rate", "1", "--prompts", "/nowhere.jsonl"], "leave --input-tokens"),
        (["--rate", "1", "--url", "http://127.0.0.1:1"], "lists no model"),
    ],
)
async def test_bad_options_are_one_line_that_says_what_to_do(bench: Bench, options: list[str], complaint: str) -> None:
    ran = await bench.run(*options)
    assert ran.code == 1
    assert re.search(complaint, ran.err.splitlines()[-1])
    assert "Traceback" not in ran.err
