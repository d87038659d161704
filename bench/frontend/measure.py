"""One measurement: a server under a load of whole answers, then of streams, at some number of connections."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass

import aiohttp
import msgspec

from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.peers.process import RunningServer

from .cores import Cores, cpu_seconds, started_on
from .load_client import MOST_SECONDS, PLACE, Load, Report
from .names import AT_ONCE, STEPPED
from .targets import Target

PATH = "/v1/chat/completions"
PROMPT = "Tell me in a few sentences what an inference server does, and why it batches the requests that it gets."
REPORT_SECONDS = 60


@dataclass(frozen=True)
class Plan:
    """How each server is loaded. Times are in seconds; ``tokens`` are of a whole answer, ``stream_tokens`` of a streamed one."""

    tokens: int
    stream_tokens: int
    seconds: float
    warm_up: float

    def body(self, target: Target, *, stream: bool, model: str = AT_ONCE) -> str:
        """The request: what an engine would make of it costs nothing here."""
        place = f" {PLACE.decode()}" if target.is_varied else ""
        body = {
            "model": target.prefix + model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": PROMPT + place},
            ],
            "max_tokens": self.stream_tokens if stream else self.tokens,
            "temperature": 0,
            "stream": stream,
        }
        # A model that computes may want to end before.
        return json.dumps(body if target.is_idle_engine else body | {"ignore_eos": True})


@dataclass(frozen=True)
class Measurement:
    """What one server gave at one number of connections. Shares are of a core; latencies in seconds, of whole answers.

    A streamed token comes at a step of its own; of the ready ones a whole answer's are there at once, as where the server is
    behind its engine.
    """

    target: str
    connections: int
    requests_per_second: float
    cpu_us_per_request: float
    server_share: float
    load_share: float
    latency_p50: float
    latency_p99: float
    tokens_per_second: float
    cpu_us_per_streamed_token: float
    cpu_us_per_ready_token: float
    failed: int


async def measure(target: Target, server: RunningServer, plan: Plan, cores: Cores, connections: int) -> Measurement:
    """Load a running server. Raises BadAnswer when it gave nothing, or other answers than it was asked for."""
    port = int(server.url.rpartition(":")[2])
    await _check_whole(server.url, target, plan)
    events = await _events_of_a_stream(server.url, target, plan)
    load = Load(
        port=port,
        path=PATH,
        body=plan.body(target, stream=False),
        connections=connections,
        warm_up=plan.warm_up,
        seconds=plan.seconds,
    )
    whole, whole_cpu = await _run(target, server, load, cores)
    load = msgspec.structs.replace(load, body=plan.body(target, stream=True))
    ready, ready_cpu = await _run(target, server, load, cores)
    load = msgspec.structs.replace(load, body=plan.body(target, stream=True, model=STEPPED))
    streams, streams_cpu = await _run(target, server, load, cores)
    # The stream's other events (its role, its end) come with its tokens, and what they cost is counted to these. Tokens that are
    # ready may come several in an event: then the streams that ended tell their number, if any did.
    tokens = streams.events * plan.stream_tokens / events
    ready_tokens = plan.stream_tokens * max(ready.answers, ready.events / events)
    if whole.latency_p50 is None or whole.latency_p99 is None or not tokens or not ready_tokens:
        raise BadAnswer(
            f"{target.label} answered nothing within {max(plan.seconds, MOST_SECONDS):g} s at {connections} connections"
        )
    return Measurement(
        target=target.label,
        connections=connections,
        requests_per_second=whole.answers / whole.seconds,
        cpu_us_per_request=1e6 * whole_cpu / whole.answers,
        server_share=whole_cpu / whole.seconds,
        load_share=whole.busy,
        latency_p50=whole.latency_p50,
        latency_p99=whole.latency_p99,
        tokens_per_second=tokens / streams.seconds,
        cpu_us_per_streamed_token=1e6 * streams_cpu / tokens,
        cpu_us_per_ready_token=1e6 * ready_cpu / ready_tokens,
        failed=whole.failed + ready.failed + streams.failed,
    )


async def _run(target: Target, server: RunningServer, load: Load, cores: Cores) -> tuple[Report, float]:
    """The report of a load, and the seconds of processor time that the server took while it was measured."""
    with started_on(cores.load):
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pennyweight.bench.frontend.load_client",
            msgspec.json.encode(load).decode(),
            stdin=DEVNULL,
            stdout=PIPE,
            cwd=tempfile.gettempdir(),  # in a checkout, Python would find our folders before other projects' packages
        )
    assert client.stdout is not None
    try:
        async with asyncio.timeout(load.warm_up + max(load.seconds, MOST_SECONDS) + REPORT_SECONDS):
            cpu = []
            for word in (b"begin\n", b"end\n"):
                if await client.stdout.readline() != word:
                    raise BadAnswer(f"the load on {target.label} did not {word.decode().strip()}")
                cpu.append(cpu_seconds(server.pid, own_process_only=target.own_process_only))
            report = msgspec.json.decode(await client.stdout.readline(), type=Report)
            await client.wait()
    except TimeoutError as error:
        raise BadAnswer(f"the load on {target.label} did not end") from error
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    return report, cpu[1] - cpu[0]


async def _check_whole(url: str, target: Target, plan: Plan) -> None:
    """Ask once and look at the answer: a server that is fast because it answers something else is not measured."""
    answer = json.loads(await _ask(url, plan.body(target, stream=False)))
    got = answer.get("usage", {}).get("completion_tokens")
    if got != plan.tokens:
        raise BadAnswer(f"{got} tokens where {plan.tokens} were asked for: {str(answer)[:200]}")


async def _events_of_a_stream(url: str, target: Target, plan: Plan) -> int:
    """How many events a stream of a token at each step has, one that has been read whole and found right."""
    lines = (await _ask(url, plan.body(target, stream=True, model=STEPPED))).split(b"\n")
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
    if not data or data[-1] != b"[DONE]":
        raise BadAnswer(f"a stream without its end: {data[-1:]}")
    choices = [choice for event in data[:-1] for choice in json.loads(event).get("choices", ())]
    pieces = [piece for choice in choices if (piece := choice.get("delta", {}).get("content"))]
    # A real model's tokens need not each have a text.
    if target.is_idle_engine and len(pieces) != plan.stream_tokens:
        raise BadAnswer(f"a stream of {len(pieces)} pieces where {plan.stream_tokens} tokens were asked for")
    return len(data)


async def _ask(url: str, body: str) -> bytes:
    headers = {"content-type": "application/json"}
    try:
        async with aiohttp.ClientSession() as session, session.post(url + PATH, data=body, headers=headers) as response:
            answer = await response.read()
    except aiohttp.ClientError as error:
        raise BadAnswer(f"a request failed: {error!r}") from error
    if response.status != 200:
        raise BadAnswer(f"status {response.status}: {answer[:300]!r}")
    return answer
