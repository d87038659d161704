"""Our figures beside those of `vllm bench serve`: the same requests at the same times to the same server, in turns."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import completion_server
from fakes.server_process import server_process

from pennyweight.bench.compare.measure import BUSY
from pennyweight.bench.load.mode import OpenLoop
from pennyweight.bench.machine import busy_cores
from pennyweight.bench.peers.process import running

VLLM_PYTHON = Path(os.environ.get("VLLM_PYTHON", "unset")).absolute()
ROUNDS = 3
REQUESTS = 60
RATE = 2.0
CLIENTS = 8
BAR = 0.03
# As `vllm bench serve`, whose entry point looks for metadata that builds for CPUs don't have.
VLLM_BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
NAME = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Scripted:
    """A server that takes 0.5 s for a prompt and 30 ms for each token whatever its load, so that all that differs is the clients."""

    name: str = "scripted"
    variant: str = "plain"
    ready_path: str = "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, completion_server.__file__, str(port), "0", "0.03", "0.5"]

    def version(self) -> str:
        return ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        not VLLM_PYTHON.exists(), reason="measures for a quarter of an hour: name vLLM's Python by VLLM_PYTHON"
    ),
]


def write_trace(path: Path) -> None:
    """Poisson arrivals of prompts of 64 tokens, each a block of its own, in Mooncake's form, which both sides replay."""
    times = OpenLoop(RATE).times(REQUESTS, 7)
    rows = [
        {"timestamp": round((at - times[0]) * 1000), "input_length": 64, "output_length": 32, "hash_ids": [number]}
        for number, at in enumerate(times)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def output_of(command: Sequence[str], directory: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    text = (await process.communicate())[0].decode()
    # Ours ends with 1 where it calls its run invalid, as on a machine with other work.
    assert process.returncode in (0, 1), text[-3000:]
    return text


async def by_vllm(url: str, name: str, trace: Path, model: Path, mode: str, directory: Path) -> Mapping[str, float]:
    load = ["--no-self-timed", "--max-concurrency", str(CLIENTS)] if mode == "closed" else []
    command = [str(VLLM_PYTHON), "-c", VLLM_BENCH_SERVE, "--backend", "openai"]
    command += ["--base-url", url, "--model", name, "--tokenizer", str(model), "--temperature", "0"]
    command += ["--dataset-name", "timed_trace", "--dataset-path", str(trace), "--num-prompts", str(REQUESTS), *load]
    command += ["--timed-trace-chunk-hash-size", "512", "--timed-trace-sec-multiplier", "0.001", "--disable-tqdm"]
    await output_of([*command, "--save-result", "--result-dir", ".", "--result-filename", "vllm.json"], directory)
    found = json.loads((directory / "vllm.json").read_text())
    return {
        "requests/s": found["request_throughput"],
        "output tokens/s": found["output_throughput"],
        "total tokens/s": found["total_token_throughput"],
        "TTFT p50": found["median_ttft_ms"] / 1000,
        "TPOT p50": found["median_tpot_ms"] / 1000,
    }


async def by_us(url: str, trace: Path, model: Path, mode: str, seed: int, directory: Path) -> Mapping[str, float]:
    load = ["--concurrency", str(CLIENTS)] if mode == "closed" else []
    command = [sys.executable, "-m", "pennyweight.server.cli", "bench", "serve", "--url", url, "--trace", str(trace)]
    command += ["--tokenizer", str(model), "--seed", str(seed), "--warmup-requests", "1", *load]
    summary: dict[str, Any] = json.loads((await output_of(command, directory)).splitlines()[-1])["data"]["points"][0][
        "summary"
    ]
    return {
        "requests/s": summary["request_throughput"],
        "output tokens/s": summary["output_throughput"],
        "total tokens/s": summary["total_throughput"],
        "TTFT p50": summary["ttft"]["p50"],
        "TPOT p50": summary["tpot"]["p50"],
    }


async def compare(url: str, name: str, model: Path, mode: str, directory: Path) -> Comparison:
    """Both clients in turns, the first one turned too."""
    trace = directory / "trace.jsonl"
    write_trace(trace)
    found = Comparison()
    for number in range(ROUNDS):
        for turn in (0, 1) if number % 2 == 0 else (1, 0):
            if turn:
                found.theirs.append(await by_vllm(url, name, trace, model, mode, directory))
            else:
                found.ours.append(await by_us(url, trace, model, mode, number, directory))
    return found


@dataclass
class Comparison:
    """Each round's figures, ours and vLLM's."""

    ours: list[Mapping[str, float]] = field(default_factory=list)
    theirs: list[Mapping[str, float]] = field(default_factory=list)

    def misses(self, what: str, report: Callable[[str], None], *, is_quiet: bool) -> list[str]:
        """The figures whose medians differ by more than 3 %, or, on a server whose speed varies, than vLLM's rounds do."""
        missed = []
        for name in self.ours[0]:
            mine, other = [one[name] for one in self.ours], [one[name] for one in self.theirs]
            ratio = statistics.median(mine) / statistics.median(other)
            spread = (max(other) - min(other)) / statistics.median(other)
            shown = " and vLLM's ".join(", ".join(f"{value:.4g}" for value in values) for values in (mine, other))
            report(f"{what}, {name}: ours {shown}, ratio of medians {ratio:.3f}, vLLM's spread {spread:.1%}")
            if abs(ratio - 1) > (BAR if is_quiet else max(BAR, spread)):
                missed.append(f"{name}: {ratio:.3f}")
        return missed


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_figures_of_a_steady_server_agree(
    mode: str, default_model: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    async with running(Scripted()) as server:
        found = await compare(server.url, "scripted", default_model, mode, tmp_path)
    assert not found.misses(f"steady server, {mode} loop", report, is_quiet=True)


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_figures_of_our_server_agree(
    mode: str, default_model: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """On a quiet machine only: this server's speed is that of the cores that it gets."""
    if (busy := busy_cores()) > BUSY:
        pytest.skip(f"other work keeps {busy:.1f} cores busy")
    async with server_process() as server:
        found = await compare(server.url, NAME, default_model, mode, tmp_path)
    assert not found.misses(f"Pennyweight, {mode} loop", report, is_quiet=False)
