"""The loads and the workload that a command line's options mean. Whatever can't be is a ValueError that says what can."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .endpoint import Endpoint
from .lengths import parse_lengths
from .load_levels import parse_levels
from .mode import MAX_CV, ArrivalProcess, ClosedLoop, Mode, OpenLoop
from .prompt_file import FileWorkload, read_prompts
from .replay import TraceWorkload
from .synthetic import SyntheticWorkload
from .trace import TraceRow, mean_rate, part, read_trace
from .vocabulary import Vocabulary, ask_vocabulary, read_vocabulary
from .workload import Workload

INPUT_TOKENS = "512"
OUTPUT_TOKENS = "128"


@dataclass(frozen=True)
class Arrivals:
    """How requests were asked to arrive: the options of that name."""

    rate: Sequence[str] = ()
    concurrency: Sequence[str] = ()
    max_concurrency: int | None = None
    process: str | None = None
    cv: float | None = None
    burstiness: float | None = None
    rate_scale: float | None = None
    sweep: str | None = None

    def check(self, *, is_trace: bool) -> None:
        """Raises ValueError for what can't be, before a server is asked anything."""
        self.modes(1.0 if is_trace else None)

    def template(self, trace_rate: float | None) -> OpenLoop:
        """An open loop as it was asked for, at the trace's own rate (scaled) or at 1. Raises ValueError."""
        process, cv = self._process()
        if trace_rate is not None and process is None:
            return OpenLoop(trace_rate * (self.rate_scale or 1.0), "trace", None, self.max_concurrency)
        if self.rate_scale is not None:
            raise ValueError(
                "--rate-scale is for a trace's own times; with --trace, leave --arrivals, --cv and --burstiness"
            )
        return OpenLoop(1.0, process or "poisson", cv, self.max_concurrency)

    def modes(self, trace_rate: float | None) -> list[Mode]:
        """The loads that were asked for: an open loop at each rate, or a closed one of each concurrency; none for a sweep,
        which finds its own. Raises ValueError.
        """
        if self.rate and (self.concurrency or self.rate_scale is not None):
            raise ValueError(
                "--rate is an open loop; it goes with neither --concurrency nor --rate-scale (each is a load)"
            )
        template = self.template(trace_rate)
        if self.sweep is not None:
            if self.rate or self.concurrency or self.sweep not in ("rate", "concurrency"):
                raise ValueError(
                    "--sweep is rate or concurrency, and finds these itself; leave --rate and --concurrency"
                )
            return []
        if self.concurrency or (self.max_concurrency and not self.rate and template.arrivals != "trace"):
            levels = parse_levels(self.concurrency, "concurrency") or [float(self.max_concurrency or 1)]
            if any(not math.isfinite(level) or level != int(level) for level in levels):
                raise ValueError("--concurrency takes whole numbers")
            return [ClosedLoop(int(level)) for level in levels]
        if self.rate:
            rates = parse_levels(self.rate, "rate")
            return [OpenLoop(rate, template.arrivals, template.cv, self.max_concurrency) for rate in rates]
        if template.arrivals == "trace":
            return [template]
        raise ValueError(
            "say how requests arrive: --rate 2 (open loop), --concurrency 8 (closed loop), --trace or --sweep"
        )

    def _process(self) -> tuple[ArrivalProcess | None, float | None]:
        """The arrival process and its CV; None where a trace's own times are meant."""
        if self.burstiness is not None and self.cv is not None:
            raise ValueError("--burstiness is 1 / cv², so give one of --burstiness and --cv")
        cv = self.cv
        if self.burstiness is not None:
            if self.burstiness <= 0:
                raise ValueError("--burstiness must be above 0; 1 is a Poisson process, inf is constant")
            cv = 1 / math.sqrt(self.burstiness)
        if cv is not None and not 0 <= cv <= MAX_CV:
            raise ValueError(f"--cv must be from 0 (constant) to {MAX_CV:.0f}; 1 is a Poisson process")
        if self.process in (None, "gamma") and cv is not None:
            return ("constant", None) if cv == 0 else ("poisson", None) if cv == 1 else ("gamma", cv)
        if cv is not None:
            raise ValueError(f"--cv and --burstiness are for --arrivals gamma, not {self.process}")
        match self.process:
            case None | "trace":
                return None, None
            case "poisson" | "constant" as process:
                return process, None
            case "gamma":
                raise ValueError("--arrivals gamma wants --cv (or --burstiness)")
        raise ValueError(f"--arrivals is poisson, gamma, constant or (with --trace) trace, not {self.process}")


@dataclass(frozen=True)
class Source:
    """Where prompts were asked to come from: the options of these names."""

    prompts: Path | None = None
    trace: Path | None = None
    skip: int = 0
    limit: int | None = None
    begin: float = 0.0
    seconds: float | None = None
    block_tokens: int = 512
    input_scale: float = 1.0
    output_scale: float = 1.0
    most_input: int | None = None
    most_output: int | None = None
    input_tokens: str | None = None
    output_tokens: str | None = None
    prefix_tokens: int = 0
    prefixes: int = 1
    turns: int = 1
    think_time: float = 0.0
    tokenizer: Path | None = None

    async def workload(self, endpoint: Endpoint) -> Workload:
        """Raises ValueError, OSError, and BadAnswer where the server doesn't give the words that are wanted of it."""
        if self.prompts is not None and self.trace is not None:
            raise ValueError("--prompts and --trace are two workloads; take one")
        if self.turns > 1 and endpoint.api != "chat":
            raise ValueError("--turns are of a conversation; take --endpoint chat")
        if self.prompts is not None:
            if self.input_tokens is not None or self.prefix_tokens:
                raise ValueError("--prompts are as long as they are; leave --input-tokens and --prefix-tokens")
            output = parse_lengths(self.output_tokens or OUTPUT_TOKENS)
            return FileWorkload(self.prompts, read_prompts(self.prompts), output, self.turns, self.think_time)
        if self.trace is not None:
            if self.input_tokens is not None or self.output_tokens is not None or self.prefix_tokens or self.turns > 1:
                raise ValueError(
                    "--trace has its own lengths; scale them by --input-scale, --output-scale, --block-tokens, "
                    "or cut them by --max-input-tokens, --max-output-tokens"
                )
            return TraceWorkload(
                path=self.trace,
                rows=self._rows(self.trace),
                vocabulary=await self._vocabulary(endpoint),
                block_tokens=self.block_tokens,
                input_scale=self.input_scale,
                output_scale=self.output_scale,
                most_input=self.most_input,
                most_output=self.most_output,
            )
        return SyntheticWorkload(
            vocabulary=await self._vocabulary(endpoint),
            input_tokens=parse_lengths(self.input_tokens or INPUT_TOKENS),
            output_tokens=parse_lengths(self.output_tokens or OUTPUT_TOKENS),
            prefix_tokens=self.prefix_tokens,
            prefixes=self.prefixes,
            turns=self.turns,
            think_time=self.think_time,
        )

    def _rows(self, path: Path) -> list[TraceRow]:
        return part(read_trace(path), skip=self.skip, limit=self.limit, begin=self.begin, seconds=self.seconds)

    async def _vocabulary(self, endpoint: Endpoint) -> Vocabulary:
        found = read_vocabulary(self.tokenizer) if self.tokenizer is not None else await ask_vocabulary(endpoint)
        if not found.ids:
            raise ValueError("the tokenizer has no words that are one token each; name another by --tokenizer")
        return found


def trace_rate(workload: Workload) -> float | None:
    """The mean rate of a trace's part in requests per second; None where the workload is none."""
    return mean_rate(workload.rows) if isinstance(workload, TraceWorkload) else None
