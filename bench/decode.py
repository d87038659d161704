"""Decode speed of a model with random weights, and the share of memory bandwidth it reaches.

It starts ``pennyweight serve``, and at each batch size sends that many completions at once, over HTTP, with few and with
many output tokens in turn. The prompts cost the same in both, so the time of a decode step is the difference of the two
times divided by the difference of the two lengths; the median of the rounds counts. MBU is (bytes of weights + bytes of
the keys and values of all contexts) / step time / the card's peak.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pennyweight.bench.load.endpoint import Endpoint, find_endpoint
from pennyweight.bench.load.mode import ClosedLoop
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.run import run_load
from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.load.synthetic import make_prompts
from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.serve_command import ServeCommand, serve_command

from .bandwidth import Bandwidth
from .random_model import Shape

REQUEST_SECONDS = 900
WEIGHT_BYTES = {"bfloat16": 2, "int8": 1, "float32": 4}


@dataclass(frozen=True)
class Served:
    """The random model, for so many sequences at once."""

    model: Path
    dtype: str
    device: str
    max_num_seqs: int
    max_model_len: int

    @property
    def serve(self) -> ServeCommand:
        options = {
            "--dtype": self.dtype,
            "--device": self.device,
            "--max-num-seqs": self.max_num_seqs,
            "--max-model-len": self.max_model_len,
            "--max-num-batched-tokens": max(2048, self.max_num_seqs),
        }
        return serve_command(str(self.model), options, variant=self.dtype)


@dataclass(frozen=True)
class Lengths:
    """Tokens of each prompt, and of the short and the long answers."""

    prompt: int
    short: int
    long: int

    @property
    def mean_context(self) -> float:
        """Tokens that a sequence has on average in the steps that are timed."""
        return self.prompt + (self.short + self.long) / 2


@dataclass(frozen=True)
class DecodeResult:
    """A batch size's decode speed. ``step_seconds`` is the median of ``rounds``."""

    batch: int
    step_seconds: float
    rounds: tuple[float, ...]
    tokens_per_second: float
    bytes_per_step: float
    mbu: float | None


async def measure(
    served: Served,
    shape: Shape,
    lengths: Lengths,
    batches: Sequence[int],
    rounds: int,
    bandwidth: Bandwidth,
    progress: Console,
) -> list[DecodeResult]:
    """Start the server and time every batch size. Raises PeerFailed or BadAnswer where nothing can be measured."""
    progress.print("starting the server", highlight=False)
    results = []
    async with running(served.serve) as server:
        # Not streamed: the time is that of the engine, not of a client that reads thousands of events a second.
        endpoint = await find_endpoint(server.url, stream=False)
        seeds = iter(range(1_000_000))
        for batch in batches:
            progress.print(f"batch {batch}", highlight=False)
            # Once to warm up: graphs are recorded for the sizes at hand.
            await timed(endpoint, served.model, batch, lengths.prompt, lengths.long, next(seeds))
            steps = []
            for _ in range(rounds):
                few, many = [
                    await timed(endpoint, served.model, batch, lengths.prompt, output, next(seeds))
                    for output in (lengths.short, lengths.long)
                ]
                steps.append((many - few) / (lengths.long - lengths.short))
            results.append(summarise(shape, served.dtype, lengths, batch, steps, bandwidth))
    return results


def summarise(
    shape: Shape, dtype: str, lengths: Lengths, batch: int, steps: Sequence[float], bandwidth: Bandwidth
) -> DecodeResult:
    """The result of a batch size from its rounds' seconds for a step."""
    step = statistics.median(steps)
    kv_bytes_per_token = shape.kv_bytes_per_token * (2 if dtype == "float32" else 1)
    read = shape.parameters_per_step * WEIGHT_BYTES[dtype] + batch * lengths.mean_context * kv_bytes_per_token
    mbu = read / step / bandwidth.peak if bandwidth.peak else None
    return DecodeResult(batch, step, tuple(steps), batch / step, read, mbu)


async def timed(
    endpoint: Endpoint, model: Path, batch: int, prompt_tokens: int, output_tokens: int, seed: int
) -> float:
    """Seconds that so many completions take together. Raises BadAnswer unless each has the length that was asked for."""
    prompts = make_prompts(model / "tokenizer.json", count=batch, tokens=prompt_tokens, seed=seed)
    requests = [
        PlannedRequest(body=endpoint.body(prompt, output_tokens), prompt_tokens=prompt_tokens) for prompt in prompts
    ]
    samples = await run_load(endpoint, requests, ClosedLoop(batch), request_seconds=REQUEST_SECONDS)
    for sample in samples:
        if sample.error is not None or sample.output_tokens != output_tokens:
            raise BadAnswer(f"not the {output_tokens} tokens that were asked for: {sample}"[:500])
    return max(sample.ended for sample in samples) - min(sample.sent for sample in samples)


def make_table(results: Sequence[DecodeResult], shape: str, dtype: str, bandwidth: Bandwidth) -> Table:
    """The results for people."""
    peak = f"{bandwidth.peak / 1e9:.0f} GB/s by {bandwidth.source}" if bandwidth.peak else bandwidth.source
    table = Table(title=f"{shape}, {dtype}, on {bandwidth.device} ({peak})")
    for heading in ("batch", "step, ms", "tokens/s", "GB a step", "MBU"):
        table.add_column(heading, justify="right")
    for one in results:
        share = "-" if one.mbu is None else f"{one.mbu:.0%}"
        table.add_row(
            str(one.batch),
            f"{one.step_seconds * 1000:.2f}",
            f"{one.tokens_per_second:.0f}",
            f"{one.bytes_per_step / 1e9:.2f}",
            share,
        )
    return table
