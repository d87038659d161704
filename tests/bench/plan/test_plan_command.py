"""`pennyweight plan` and `bench validate-plan` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.model_shapes import LLAMA_3_8B, SMALL, write_config
from fakes.simulated_sweep import write_sweep

from pennyweight.bench.plan.calibration import read_calibration
from pennyweight.bench.plan.served import describe_served
from pennyweight.bench.plan.step_model import StepParameters

TRACES = Path(__file__).parents[4] / "shared" / "data" / "traces"
TRUE = StepParameters(0.8, 0.4, 0.2, 5e-3, 0.8e-3, 8e-3)
SHORT = ("--requests", "200", "--max-num-seqs", "64", "--top", "2", "--gpu", "h100", "--tp", "1")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pennyweight.server.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def result_of(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON line, which comes last."""
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_config(tmp_path, LLAMA_3_8B, "llama-3-8b")


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[Path, Path]:
    """A small model's directory, and a sweep of it on a CPU."""
    model = write_config(tmp_path, SMALL, "small")
    served = describe_served(
        model,
        "epyc-avx2-2-cores",
        None,
        "bfloat16",
        tp=1,
        max_num_seqs=64,
        max_num_batched_tokens=None,
        kv_tokens=100_000,
        longest=4000,
    )
    write_sweep(tmp_path / "sweep", served, TRUE, rates=(0.5, 1.0, 2.0), clients=(1, 4, 16))
    return model, tmp_path / "sweep"


@pytest.mark.slow
def test_a_plan_is_ranked_and_says_how_sure_it_is(model: Path, tmp_path: Path) -> None:
    quality = tmp_path / "quality.yaml"
    quality.write_text("bfloat16: 1.0\nfp8: 0.98\n")
    rates = tmp_path / "rates.csv"
    rates.write_text("t_s,req_rate\n0,5\n600,10\n1200,2\n")
    ran = run(
        *("plan", "--model", model, "--rate", "8", "--slo", "ttft:p99:1s,tpot:p50:50ms", "--out", tmp_path / "out"),
        *("--quality", quality, "--quantisation", "bfloat16", "--quantisation", "fp8", "--rates", rates),
        *("--hosted", "openai-gpt-6-luna", *SHORT),
    )
    found = result_of(ran)
    data = found["data"]
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == found
    first, second = data["configurations"]
    assert {first["quantisation"], second["quantisation"]} == {"bfloat16", "fp8"}
    assert first["economics"]["per_accepted"] <= second["economics"]["per_accepted"]
    for one in (first, second):
        assert one["devices"] == one["replicas"] * one["tp"]
        assert one["headroom"] >= 1
        assert one["percentiles"]["ttft_p99"] <= 1
        assert one["percentiles"]["tpot_p50"] <= 0.05
        assert one["economics"]["accepted_share"] <= one["quality"]
        # The day's mean is 5.67 of 10: the rent is spread over so much less.
        assert one["economics"]["per_million_over_the_day"] / one["economics"]["per_million"] == pytest.approx(30 / 17)
    assert data["use"]["trough"]["relative_rate"] == pytest.approx(0.23)  # the 5th percentile of 0.5, 1 and 0.2
    assert data["use"]["trough"]["busy"] < data["use"]["peak"]["busy"]
    assert [one["model"] for one in data["break_even"]] == ["openai-gpt-6-luna"]
    headroom = data["intervals"]["headroom"]
    assert headroom["low"] < headroom["value"] < headroom["high"]
    assert {one["input"] for one in data["sensitivity"]} >= {"rate", "price", "input length", "KV cache"}
    assert "not calibrated" in ran.stdout


@pytest.mark.slow
def test_a_slice_of_a_trace_with_prefixes_and_shares(model: Path) -> None:
    file = TRACES / "mooncake_fast25_conversation.jsonl.gz"
    if not file.exists():
        pytest.skip(f"the traces are not beside this checkout ({file})")
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 131072}
    (model / "config.json").write_text(json.dumps(config))
    found = result_of(
        run(
            *("plan", "--model", model, "--trace", file, "--rate", "1", "--slo", "ttft:p99:20s", *SHORT),
            *("--quantisation", "bfloat16", "--response-cache-share", "0", "--response-cache-share", "0.3"),
            *("--route-share", "0.2", "--route-to", "openai-gpt-6-luna", "--hosted", "openai-gpt-6-luna"),
        )
    )
    assert found["settings"]["traffic"]["mean_input"] > 5000
    shares = [one["shares"]["response_cache"] for one in found["data"]["configurations"]]
    assert sorted(shares) == [0.0, 0.3]
    for one in found["data"]["configurations"]:
        assert one["economics"]["dollars_per_hour"] > one["economics"]["rent_per_hour"]  # what is routed is paid for


@pytest.mark.slow
def test_a_calibration_is_measured_written_and_used(sweep: tuple[Path, Path], tmp_path: Path) -> None:
    model, directory = sweep
    served = ("--model", model, "--kv-tokens", "100000")
    validated = result_of(run("bench", "validate-plan", directory, *served, "--device", "epyc-avx2-2-cores"))
    assert validated["complaints"] == []
    assert validated["data"]["errors"]["throughput"] < 0.05
    assert [one["fitted"] for one in validated["data"]["predictions"]] == [True, False] * 3
    file = tmp_path / "cpu.json"
    result_of(run("plan", "--calibrate", directory, *served, "--gpu", "epyc-avx2-2-cores", "--calibration", file))
    calibration = read_calibration(file)
    assert (calibration.kind, calibration.points, calibration.model) == ("cpu", 6, "small")
    assert calibration.parameters.compute_efficiency == pytest.approx(TRUE.compute_efficiency, rel=0.2)
    assert calibration.errors == validated["data"]["errors"]
    ran = run(
        *("plan", "--model", model, "--calibration", file, "--gpu", "epyc-avx2-2-cores", "--dollars-per-hour", "0.1"),
        *("--rate", "2", "--input-tokens", "128", "--output-tokens", "32", "--slo", "ttft:p99:5s", "--tp", "1"),
        *("--requests", "200", "--max-num-seqs", "64", "--quantisation", "bfloat16"),
    )
    assert result_of(ran)["data"]["calibration"]["device"] == "epyc-avx2-2-cores"
    assert "median errors measured then: throughput" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give the traffic: --trace FILE, or --rate"),
        (("--rate", "1", "--slo", "speed:p99:1s"), "'speed:p99:1s' is not METRIC:pPERCENT:LIMIT"),
        (("--rate", "1", "--gpu", "h1000"), "no device and no GPU's price is called 'h1000'; perhaps"),
        (("--rate", "1", "--input-tokens", "many"), "'many' is no length in tokens"),
        (("--rate", "1", "--route-share", "0.5"), "--route-share needs --route-to"),
        (("--trace", "none.csv"), "the trace can't be read"),
        (("--calibration", "none.json", "--rate", "1"), "the calibration none.json can't be read"),
        (("--calibrate", "nowhere"), "--calibrate needs the one device that was measured"),
        (("--calibrate", "nowhere", "--gpu", "h100"), "nowhere/result.json can't be read"),
        (("--rate", "1", "--requests", "50", "--gpu", "h100", "--slo", "tpot:p50:1ms"), "breaks tpot:p50:1ms even"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(model: Path, arguments: tuple[str, ...], reason: str) -> None:
    ran = run("plan", "--model", model, *arguments)
    assert ran.returncode == 1
    (line,) = ran.stderr.strip().splitlines()
    assert line.startswith("pennyweight: ")
    assert reason in line


def test_a_model_that_fits_nowhere_says_by_how_much(tmp_path: Path) -> None:
    big = write_config(tmp_path, LLAMA_3_8B | {"hidden_size": 16384, "num_hidden_layers": 126}, "big")
    ran = run("plan", "--model", big, "--rate", "1", "--gpu", "l4", "--tp", "1", "--requests", "50")
    assert ran.returncode == 1
    assert "the model fits nowhere: big in w4a16 misses l4 by" in ran.stderr
