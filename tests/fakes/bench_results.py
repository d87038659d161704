"""Results of benchmarks that were never run, in the forms that their commands write, for tests of what reads them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.bench.machine import Machine
from pennyweight.bench.result import FILE, Result

MACHINE = Machine("AMD EPYC", ("avx2", "avx512f"), 2, 24 * 2**30, "Linux", "3.11.7")


def make_result(kind: str, data: Mapping[str, Any], **changes: Any) -> Result:
    """A result of a kind."""
    known: dict[str, Any] = {
        "command": f"pennyweight bench {kind} --out somewhere",
        "started": "2026-11-26T10:00:00+00:00",
        "finished": "2026-11-26T10:10:00+00:00",
        "machine": MACHINE,
        "versions": {"pennyweight": "0.1.0 (abcdef123456)"},
        "settings": {"seed": 0},
    }
    return Result(kind=kind, data=data, **(known | changes))


def write_result(directory: Path, result: Result) -> Path:
    """Write it as a benchmark's --out does."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_bytes(msgspec.json.encode(result))
    return directory


def distribution(middle: float) -> dict[str, Any]:
    """Percentiles around a median, with intervals."""
    shares = {"p50": 1, "p90": 1.6, "p95": 2, "p99": 3, "p999": 4, "max": 5, "mean": 1.1, "std": 0.4, "min": 0.5}
    found: dict[str, Any] = {name: share * middle for name, share in shares.items()}
    return found | {
        "count": 100,
        "p50_interval": [0.93 * middle, 1.08 * middle],
        "p99_interval": [2.4 * middle, 3.7 * middle],
    }


def summary(rate: float, capacity: float = 6.0) -> dict[str, Any]:
    """What a server of a capacity does under a rate of requests."""
    served = min(rate, capacity)
    crowd = 1 / max(0.04, 1 - rate / (capacity * 1.05))
    good = served * (0.995 if rate < 0.9 * capacity else 0.4)
    return {
        "requests": 200,
        "completed": 197 if rate > capacity else 200,
        "failed": 3 if rate > capacity else 0,
        "errors": {"timeout": 2, "http_503": 1} if rate > capacity else {},
        "duration": 200 / served,
        "input_tokens": 40_000,
        "output_tokens": 12_800,
        "cached_tokens": 9_000,
        "request_throughput": served,
        "input_throughput": 200 * served,
        "output_throughput": 64 * served,
        "total_throughput": 264 * served,
        "goodput": good,
        "slo_attainment": good / rate,
        "ttft": distribution(0.06 * crowd),
        "ttft_scheduled": distribution(0.061 * crowd),
        "tpot": distribution(0.012 * crowd**0.5),
        "itl": distribution(0.011 * crowd**0.5),
        "e2e": distribution(0.8 * crowd**0.6),
        "lag": distribution(0.0004),
    }


def serve_result(directory: Path, rates: tuple[float, ...] = (1, 2, 4, 5, 6, 8), **changes: Any) -> Path:
    """A load test over rates, with samples."""
    generator = random.Random(0)
    points = [
        {"load": {"mode": "open", "rate": rate, "arrivals": "poisson"}, "summary": summary(rate), "complaints": []}
        for rate in rates
    ]
    data = {
        "endpoint": {"url": "http://127.0.0.1:8000", "model": "smollm2-135m-instruct"},
        "workload": {"name": "synthetic", "mean_input_tokens": 200, "mean_output_tokens": 64},
        "slo": {"ttft": 0.5, "tpot": 0.05},
        "points": points,
        "knee": {"method": "Kneedle", "measure": "goodput", "load": points[3]["load"], "point": 3, "value": 5.0}
        if len(points) > 3
        else None,
    }
    write_result(directory, make_result("serve", data, **changes))
    for number, rate in enumerate(rates):
        with gzip.open(directory / f"samples-{number}.jsonl.gz", "wb") as file:
            for index in range(200):
                file.write(msgspec.json.encode(_sample(generator, index, rate)) + b"\n")
    return directory


def _sample(generator: random.Random, index: int, rate: float) -> dict[str, Any]:
    sent = index / rate + generator.random()
    first = sent + generator.lognormvariate(-2.8 + rate / 6, 0.5)
    arrivals = [first]
    for _ in range(20):
        arrivals.append(arrivals[-1] + generator.lognormvariate(-4.4 + rate / 12, 0.4))
    ended = arrivals[-1]
    return {
        "index": index,
        "scheduled": sent,
        "sent": sent,
        "first": first,
        "ended": ended,
        "arrivals": arrivals,
        "pieces": [1, *[3] * 20],
        "status": 200,
        "error": None,
    }


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.95 * value, "high": 1.06 * value}


def cost_data() -> dict[str, Any]:
    """Of ``bench cost``."""
    prices = {"vLLM bfloat16": 0.61, "native bfloat16": 0.42, "native int8": 0.27, "int8, prefix cache": 0.19}
    configurations = [
        {
            "name": name,
            "dollars_per_hour": 0.085,
            "rounds": [],
            "cost": {
                "per_million_input": _estimate(0.8 * price),
                "per_million_output": _estimate(3 * price),
                "per_million_total": _estimate(price),
                "per_request": _estimate(price / 3000),
                "per_accepted": None,
            },
        }
        for name, price in prices.items()
    ]
    before = None
    waterfall = []
    for name, price in prices.items():
        waterfall.append(
            {"name": name, "dollars_per_million": price, "saved": None if before is None else before - price}
        )
        before = price
    return {
        "workload": {"name": "chat"},
        "configurations": configurations,
        "waterfall": waterfall,
        "break_even": [
            {
                "configuration": "int8, prefix cache",
                "model": model,
                "hosted_per_request": 0.085 / at,
                "requests_per_hour": at,
                "tokens_per_hour": 264 * at,
                "share_of_capacity": at / 20_000,
            }
            for model, at in (("large-hosted", 640.0), ("small-hosted", 5200.0), ("tiny-hosted", 31_000.0))
        ],
    }


def gpu_data() -> dict[str, Any]:
    """Of ``bench gpu``."""
    points = [
        {
            "load": {"mode": "closed", "concurrency": level},
            "summary": summary(min(6, 0.4 * level**0.7)),
            "utilisation": {
                "mfu": 0.02 * level**0.7,
                "mbu": 0.78 - 0.3 / level,
                "sm": 0.9 - 0.5 / level,
                "dram": 0.7 - 0.3 / level,
                "power_watts": 300 + 60 * level**0.5,
                "joules_per_token": 5 / level**0.7,
            },
            "time_split": {
                "prefill": 2 + level / 10,
                "decode": 20.0,
                "idle": 10 / level,
                "recompute": level / 100,
                "retries": 0.0,
            },
            "dollars_per_million_total": 4 / level**0.7,
        }
        for level in (1, 4, 16, 64)
    ]
    return {
        "device": "NVIDIA H200",
        "points": points,
        "timeline": [{"at": 0.1 * n, "mfu": 0.3, "mbu": 0.6} for n in range(50)],
    }


def frontend_data() -> dict[str, Any]:
    """Of ``bench frontend``."""
    costs = {"pennyweight": (180, 9, 5000), "litellm": (10_000, 400, 180), "vllm-router": (70, 5, 20_000)}
    rows = [
        {
            "server": server,
            "version": "1.0",
            "connections": connections,
            "requests_per_second": speed * min(1, 0.3 + connections / 64),
            "cpu_us_per_request": a_request,
            "cpu_us_per_streamed_token": a_token,
            "added_p50": a_request * 1e-6 * connections**0.6,
            "added_p99": 3 * a_request * 1e-6 * connections**0.6,
        }
        for server, (a_request, a_token, speed) in costs.items()
        for connections in (1, 16, 64, 256)
    ]
    return {"rows": rows}


def overload_data() -> dict[str, Any]:
    """Of ``bench overload``."""
    shares = (0.5, 1.0, 2.0, 5.0)
    kept = {"with the limit": (0.5, 0.98, 1.0, 0.97), "without": (0.5, 1.0, 0.2, 0.0)}
    levels = [
        {
            "configuration": name,
            "share": share,
            "rate": 6.0 * share,
            "round": 0,
            "summary": summary(6.0 * share) | {"goodput": 6.0 * part},
            "refused": 100 if share > 1 else 0,
            "refusals": distribution(0.004) if share > 1 else None,
            "gave_up": 0,
            "answered": 200,
            "front_cpu_seconds": 0.4,
            "memory": 60 * 2**20,
            "complaints": [],
        }
        for name, parts in kept.items()
        for share, part in zip(shares, parts, strict=True)
    ]
    return {
        "model": "smollm2-135m-instruct",
        "slo": {"ttft_scheduled": 3.0},
        "capacity": 6.0,
        "levels": levels,
        "configurations": [
            {
                "name": name,
                "goodput": [[share, 6.0 * part] for share, part in zip(shares, parts, strict=True)],
                "kept": [[share, part] for share, part in zip(shares, parts, strict=True)],
                "peak_goodput": 6.0,
                "refusal_p99": 0.012,
                "cpu_us_per_answer": 1500.0,
                "cpu_us_per_refusal": 240.0,
                "first_memory": 60 * 2**20,
                "last_memory": 61 * 2**20,
            }
            for name, parts in kept.items()
        ],
        "memory": {name: [[0.0, 60 * 2**20], [5.0, 61 * 2**20]] for name in kept},
        "shortfalls": ["refusals took 80 ms at p99, not 50"],
    }


def hostile_data() -> dict[str, Any]:
    """Of ``bench hostile``."""

    def phase(factor: float) -> dict[str, float]:
        values = {"ttft": 0.09, "e2e": 0.9, "lag": 0.001}
        shares = {"p50": 1, "p90": 1.5, "p99": 2.2}
        found = {
            f"{name}_{at}": value * share * factor for name, value in values.items() for at, share in shares.items()
        }
        return found | {"requests": 86, "failures": 0}

    return {
        "model": "smollm2-135m-instruct",
        "kinds": 53,
        "hostile_requests": 2000,
        "hostile_rate": 20.0,
        "capacity": 8.5,
        "good_rate": 4.2,
        "good_requests": 860,
        "good_failures": [],
        "complaints": {"huge_body": 2, "cut_body": 1},
        "alone": [phase(1), phase(1.1)],
        "attacked": [phase(1.2), phase(1.1)],
        "all_alone": phase(1.05),
        "all_attacked": phase(1.15),
    }


def decode_data() -> dict[str, Any]:
    """Of ``bench decode``."""
    return {
        "device": {"device": "NVIDIA H200", "peak": 4.8e12, "source": "NVIDIA"},
        "parameters": 8_030_000_000,
        "shape": {"layers": 32},
        "steps": [
            {
                "batch": batch,
                "step_seconds": 0.0045 + batch * 2e-5,
                "rounds": [0.0044 + batch * 2e-5, 0.0047 + batch * 2e-5],
                "tokens_per_second": batch / (0.0045 + batch * 2e-5),
                "bytes_per_step": 16e9 + batch * 2e7,
                "mbu": 0.7 - batch / 2000,
            }
            for batch in (1, 16, 64, 256)
        ],
    }


def compare_data() -> dict[str, Any]:
    """Of ``bench compare``: int8 beside bfloat16, twice as fast on one stream and no faster on eight."""
    speeds = {("native bfloat16", 1): 50.0, ("native bfloat16", 8): 400.0}
    speeds |= {("native int8", 1): 100.0, ("native int8", 8): 404.0}
    names = ("native bfloat16", "native int8")

    def row(name: str) -> dict[str, Any]:
        medians = {f"output_tokens_per_second@{level}": speeds[name, level] for level in (1, 8)}
        medians |= {f"ttft_p50@{level}": 10 / speeds[name, level] for level in (1, 8)}
        known = {"label": name, "peer": "pennyweight", "variant": name, "rounds": 3, "failures": []}
        return {**known, "medians": medians | {"seconds_to_ready": 3.0}, "ratios": {}}

    def ratio(measure: str, value: float, low: float, high: float, better: bool | None) -> dict[str, Any]:
        known = {"name": names[1], "baseline": names[0], "measure": measure, "rounds": 3}
        return {**known, "value": value, "low": low, "high": high, "is_better": better}

    return {
        "rows": [row(name) for name in names],
        "ratios": [
            ratio("output_tokens_per_second@1", 2.0, 1.9, 2.1, True),
            ratio("ttft_p50@1", 0.5, 0.45, 0.56, True),
            ratio("output_tokens_per_second@8", 1.01, 0.97, 1.06, None),
            ratio("seconds_to_ready", 1.1, 1.02, 1.2, False),
        ],
        "measurements": [
            {
                "label": name,
                "peer": "pennyweight",
                "variant": name,
                "round": number,
                "loads": [
                    {"concurrency": level, "output_tokens_per_second": speeds[name, level] * (1 + number / 50)}
                    for level in (1, 8)
                ],
            }
            for number in range(3)
            for name in names
        ],
    }


def quality_data() -> dict[str, Any]:
    """Of ``quantize eval``: eight bits that pass."""

    def about(value: float, part: float = 0.02) -> dict[str, float]:
        return {"value": value, "low": value * (1 - part), "high": value * (1 + part)}

    def model(name: str, dtype: str, size: float) -> dict[str, Any]:
        sizes = {"disk_bytes": size, "weight_bytes": 0.9 * size, "resident_bytes": 1.4 * size}
        return {"model": name, "dtype": dtype, **{field: int(value) for field, value in sizes.items()}}

    def served(speed: float) -> dict[str, Any]:
        speeds = {"1": speed, "8": 5 * speed}
        costs = {streams: 0.08 / 3600 / one * 1e6 for streams, one in speeds.items()}
        return {"tokens_per_second": speeds, "dollars_per_million": costs, "resident_bytes": 4e8}

    return {
        "base": model("smollm2-135m-instruct", "bfloat16", 270e6),
        "quantised": model("smollm2-w8a8", "bfloat16", 165e6),
        "scores": {
            "text": {
                "tokens": 11_000,
                "windows": 22,
                "base_perplexity": about(20.1),
                "perplexity": about(20.3),
                "perplexity_ratio": about(1.01, 0.002),
                "kl": about(0.006),
                "top1": about(0.975, 0.004),
                "kl_quantiles": [0.006 * (place / 50) ** 3 for place in range(101)],
            },
            "choices": {
                "questions": 70,
                "answered": 70,
                "base_accuracy": about(0.7),
                "accuracy": about(0.69),
                "agreement": about(0.96),
            },
            "answers": {
                "prompts": 4,
                "max_tokens": 64,
                "equal": about(0.5),
                "matched_tokens": about(43),
                "parted": [None, None, 30, 14],
            },
        },
        "verdict": {
            "verdict": "passed",
            "reasons": [],
            "thresholds": {"min_top1": 0.97, "max_kl": 0.01, "max_perplexity_ratio": None},
        },
        "speed": {
            "base": served(60),
            "quantised": served(120),
            "rounds": 3,
            "dollars_per_hour": 0.08,
            "complaints": ["other work kept 0.5 cores busy meanwhile"],
        },
    }


def router_data() -> dict[str, Any]:
    """Of ``router eval``: a learned router beyond length."""

    def about(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.02, "high": value + 0.02}

    def router(apgr: float) -> dict[str, Any]:
        figures = {"apgr": apgr, "share_for_95_percent": 0.5, "cpt_50": 0.3, "cpt_80": 0.6, "aiq": 0.7}
        recovered = [(place / 100) ** (1 / apgr - 1) for place in range(101)]
        return {
            "figures": {name: about(value) for name, value in figures.items()},
            "beyond_length": about(apgr - 0.58),
            "recovered": recovered,
        }

    routers = {name: router(apgr) for name, apgr in (("learned", 0.67), ("random", 0.5), ("length", 0.58))}
    kind = {"rows": 1000, "weak": 0.6, "strong": 0.8, "decided": 0.3, "routers": routers}
    return {"how": "Cross-validated in 5 folds", "data_sha256": "0", "kinds": {"all": kind, "mmlu": kind}}


def savings_data() -> dict[str, Any]:
    """Four steps at two repeat shares."""
    price = {"provider": "ACME", "model": "a", "as_of": "2026-11-01", "source": "ACME pricing"}
    costs, waited = [], []
    for share in (0.0, 0.5):
        for step, dear, free in (
            ("everything off", 1.0, 0.0),
            ("response cache", 1.0, share),
            ("router", 0.15, 0.0),
            ("both", 0.15, share),
        ):
            part = (1 - free) * (dear + (1 - dear) / 40)
            here = {"step": step, "repeat_share": share}
            costs.append(
                {
                    **here,
                    **{"requests": 90, "accepted": 90, "free_share": free},
                    **{
                        "routed_dear_share": dear,
                        "cheap_share": (1 - free) * (1 - dear),
                        "dear_share": (1 - free) * dear,
                    },
                    **{"per_accepted": _estimate(0.002 * part), "times_cheaper": _estimate(1 / part)},
                    **{"same_share": 1.0 if dear == 1 else 0.3, "likeness": 1.0 if dear == 1 else 0.7},
                }
            )
            waited.append({**here, "ttft_p50": 0.4, "e2e_p50": 2.1, "e2e_p99": 5.0, "cpu_seconds_per_accepted": 0.9})
    return {
        "prices": {
            "cheap": {"id": "small", "input": "0.10", "output": "0.50", **price},
            "dear": {"id": "large", "input": "4.00", "output": "20.00", **price},
        },
        "policy": {"name": "learned", "strong_share": 0.15},
        "costs": costs,
        "waited": waited,
        "hits": [{"requests": 300, "cpu_microseconds": 400.0, "e2e_p50": 0.0006}],
    }


def drift_data() -> dict[str, Any]:
    """Two precisions of a model."""
    estimate = {"value": 0.97, "low": 0.95, "high": 0.99}
    near = {"value": 0.02, "low": 0.01, "high": 0.03}
    return {
        "drift": {
            "one": {"name": "tiny", "model": "tiny", "fingerprint": "fp_one"},
            "other": {"name": "tiny --dtype int8", "model": "tiny", "fingerprint": "fp_two"},
            "requests": 3,
            "other_prompts": 1,
            "answers": {
                "prompts": 3,
                "max_tokens": 32,
                "equal": estimate,
                "matched_tokens": {"value": 20.0, "low": 12.0, "high": 30.0},
                "parted": [None, 4, 17],
            },
            "forced": {
                "requests": 3,
                "places": 96,
                "top1": estimate,
                "kl": near,
                "difference": near,
                "largest_difference": 0.4,
                "quantiles": [0.0, 0.0, 0.01, 0.1, 0.4],
                "nll": [estimate, estimate],
            },
            "parts": [{"name": "precision", "one": "bfloat16", "other": "int8"}],
            "parted": [{"id": "request1", "position": 4, "before": "Once", "one": " upon", "other": " more"}],
            "left_out": {"engine_error: it died": 1},
        }
    }


EXAMPLES: Mapping[str, Any] = {
    "compare": compare_data,
    "cost": cost_data,
    "gpu": gpu_data,
    "frontend": frontend_data,
    "hostile": hostile_data,
    "overload": overload_data,
    "decode": decode_data,
    "quality": quality_data,
    "router": router_data,
    "savings": savings_data,
    "drift": drift_data,
}
