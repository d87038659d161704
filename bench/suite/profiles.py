"""The steps of each profile, the most valuable first: whatever time is left out at the end is the least missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pennyweight.bench.hostile.good_traffic import PLACES, QUESTIONS
from pennyweight.bench.peers.pennyweight import Pennyweight

from .step import OUT, URL, Step

PROMPTS = "prompts.txt"


@dataclass(frozen=True)
class Subject:
    """What a suite measures: a model of this machine, at its price, beside vLLM where that is installed.

    ``device`` is the machine's name in the planner's book of devices. ``traces`` is a directory with traces of requests.
    """

    model: Path
    dollars_per_hour: float
    dtype: str = "bfloat16"
    quantised: str = "int8"
    vllm_python: Path | None = None
    vllm_dtype: str = "bfloat16"
    device: str | None = None
    prompts: Path | None = None
    traces: Path | None = None
    kv_cache_gib: int = 2
    seed: int = 0

    def server(self, dtype: str) -> Pennyweight:
        return Pennyweight(self.model, dtype, self.kv_cache_gib)


@dataclass(frozen=True)
class Sizes:
    """How much a profile asks of its machine. Times are in seconds."""

    concurrency: tuple[int, ...]
    input_tokens: str
    output_tokens: str
    requests: int
    cost_requests: int
    cost_rounds: int
    trace_seconds: int
    trace_rate: float
    seconds: Mapping[str, float] = field(default_factory=dict)


# For a model that a CPU of a few cores serves at some hundred tokens a second.
CPU = Sizes(
    concurrency=(1, 4, 16),
    input_tokens="lognormal:128:64",
    output_tokens="lognormal:32:16",
    requests=32,
    cost_requests=16,
    cost_rounds=2,
    trace_seconds=45,
    trace_rate=0.4,
    seconds={"load": 90, "cost": 270, "utilisation": 90, "rates": 150, "trace": 70, "frontend": 150, "plan": 20},
)
# For an 8B model on a card of the data centre.
RENTED_GPU = Sizes(
    concurrency=(1, 8, 32, 128, 256),
    input_tokens="lognormal:512:256",
    output_tokens="lognormal:128:64",
    requests=512,
    cost_requests=512,
    cost_rounds=2,
    trace_seconds=120,
    trace_rate=4.0,
    seconds={
        **{"load": 240, "cost": 480, "utilisation": 180, "rates": 240, "trace": 150, "frontend": 150, "plan": 60},
        "decode": 240,
    },
)


def cpu(subject: Subject) -> list[Step]:
    """A machine without a card, in about a quarter of an hour."""
    return _steps(subject, CPU)


def rented_gpu(subject: Subject) -> list[Step]:
    """One card that is paid for by the hour."""
    decode = Step(
        name="decode",
        what="tokens/s of decode steps of an 8B shape, and the share of bandwidth",
        command=("decode",),
        seconds=RENTED_GPU.seconds["decode"],
    )
    return [*_steps(subject, RENTED_GPU), decode]


PROFILES: Mapping[str, Callable[[Subject], list[Step]]] = {"cpu": cpu, "rented-gpu": rented_gpu}


def write_prompts(directory: Path) -> None:
    """Questions for the steps that want real text, where the user has none of their own."""
    lines = [question.format(place) for place in PLACES for question in QUESTIONS]
    (directory / PROMPTS).write_text("\n".join(lines) + "\n")


def _steps(subject: Subject, sizes: Sizes) -> list[Step]:
    lengths = ("--input-tokens", sizes.input_tokens, "--output-tokens", sizes.output_tokens)
    seed = ("--seed", str(subject.seed))
    levels = ("--concurrency", ",".join(map(str, sizes.concurrency)))
    served = subject.server(subject.dtype)
    seconds = sizes.seconds
    return [
        Step(
            name="load",
            what="throughput and latency by the number of clients",
            command=("serve", "--url", URL, *levels, *lengths, "--requests", str(sizes.requests), *seed),
            seconds=seconds["load"],
            server=served,
        ),
        Step(
            name="utilisation",
            what="how full the device is, what its time goes to, and $/M tokens",
            command=(
                *("gpu", "--url", URL, *levels, *lengths, "--requests", str(sizes.requests)),
                *("--dollars-per-hour", str(subject.dollars_per_hour), "--seed", str(subject.seed + 1)),
            ),
            seconds=seconds["utilisation"],
            server=served,
        ),
        _cost(subject, sizes),
        Step(
            name="rates",
            what="latency by the rate of arrivals, up to the saturation",
            command=(
                *(
                    "serve",
                    "--url",
                    URL,
                    "--sweep",
                    "rate",
                    *lengths,
                    "--duration",
                    "15",
                    "--slo",
                    "ttft:2s,tpot:200ms",
                ),
                *("--seed", str(subject.seed + 2)),
            ),
            seconds=seconds["rates"],
            server=served,
        ),
        _trace(subject, sizes),
        Step(
            name="frontend",
            what="the server's own CPU per request and per token",
            command=("frontend", "--rounds", "1", "--seconds", "2", "--model", str(subject.model)),
            seconds=seconds["frontend"],
        ),
        _validation(subject, sizes),
    ]


def _cost(subject: Subject, sizes: Sizes) -> Step:
    price = f"dollars_per_hour={subject.dollars_per_hour}"
    configurations = [
        f"name=native {subject.dtype},peer=native,dtype={subject.dtype},prefix_cache=off,{price}",
        f"name=native {subject.quantised},peer=native,dtype={subject.quantised},prefix_cache=off,{price}",
        f"name=with prefix cache,peer=native,dtype={subject.quantised},{price}",
    ]
    vllm: tuple[str, ...] = ()
    if subject.vllm_python is not None:
        vllm = ("--vllm-python", str(subject.vllm_python))
        configurations.insert(
            0, f"name=vLLM {subject.vllm_dtype},peer=vllm,dtype={subject.vllm_dtype},eager=on,prefix_cache=off,{price}"
        )
    return Step(
        name="cost",
        what="$ per million tokens, and what each step saves" + ("" if vllm else " (without vLLM: --vllm-python)"),
        command=(
            *("cost", "--prompts", str(subject.prompts or f"{OUT}/{PROMPTS}"), "--model", str(subject.model), *vllm),
            *(part for one in configurations for part in ("--config", one)),
            *("--requests", str(sizes.cost_requests), "--rounds", str(sizes.cost_rounds), "--output-tokens", "32"),
            *("--probes", "8", "--warm-up", "4", "--seed", str(subject.seed)),
        ),
        seconds=sizes.seconds["cost"],
    )


def _trace(subject: Subject, sizes: Sizes) -> Step:
    found = sorted(subject.traces.glob("azure*")) if subject.traces else []
    if found:
        # As many requests as take so long at that rate: --duration would be of the trace's own time, in which far more of them came.
        count = max(1, round(sizes.trace_rate * sizes.trace_seconds))
        part: tuple[str, ...] = (
            *("--trace", str(found[0]), "--limit", str(count)),
            *("--max-input-tokens", "1024", "--max-output-tokens", "128"),
        )
    else:
        part = ("--cv", "1.5", "--duration", str(sizes.trace_seconds))
    return Step(
        name="trace",
        what="traffic as it was recorded" if found else "bursty arrivals (no trace: --traces)",
        command=(
            *("serve", "--url", URL, "--rate", str(sizes.trace_rate), *part),
            *("--slo", "ttft:5s,tpot:500ms", "--seed", str(subject.seed + 3)),
        ),
        seconds=sizes.seconds["trace"],
        server=subject.server(subject.quantised),
    )


def _validation(subject: Subject, sizes: Sizes) -> Step:
    return Step(
        name="validate-plan",
        what="how far off the planner is",
        command=(
            *("validate-plan", f"{OUT}/load", f"{OUT}/rates", "--model", str(subject.model)),
            *("--device", subject.device or "", "--quantisation", subject.dtype),
        ),
        seconds=sizes.seconds["plan"],
        needs=("load", "rates"),
        missing="" if subject.device else "--device names this machine in the planner's book of devices",
    )
