"""The command as a whole, against the real server over a socket; what it computes with is tested beside this."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.bench_results import make_result, savings_data, write_result
from fakes.live_server import live_server
from fakes.random_models import save_random_model
from transformers import LlamaConfig, LlamaForCausalLM

from pennyweight.bench.load.raw import read_samples

QUICK = ("--rounds", "2", "--requests", "4", "--warm-up", "1", "--probes", "2", "--output-tokens", "8")


async def bench_cost(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pennyweight.server.cli", "bench", "cost", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def figures(code: int, out: str, err: str) -> dict[str, Any]:
    """The result, of which nothing may be wrong but that a busy machine made the client or a server late."""
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert all("late" in complaint or "cores busy" in complaint for complaint in result["complaints"]), err
    assert code == (1 if result["complaints"] else 0)
    return result


def rows(path: Path, **more: Any) -> str:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Question {number}?", **more}) + "\n" for number in range(14)))
    return str(file)


async def test_two_running_servers_are_priced_side_by_side(tmp_path: Path) -> None:
    savings = write_result(tmp_path / "savings", make_result("savings", savings_data()))
    async with live_server() as server:
        code, out, err = await bench_cost(
            *("--prompts", rows(tmp_path, expect="."), *QUICK, "--out", str(tmp_path / "out")),
            *("--config", f"name=dear,url={server.url},price=aws-h100"),
            *("--config", f"name=cheap,url={server.url}/v1,dollars_per_hour=0.08"),
            *("--against", "openai-gpt-6-luna", "--requests-per-hour", "10"),
            *("--savings", str(savings), "--repeat-share", "0.5"),
        )
    result = figures(code, out, err)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    data = result["data"]
    dear, cheap = data["configurations"]
    for one in (dear, cheap):
        assert [each["round"] for each in one["rounds"]] == [0, 1]
        cost = one["cost"]["per_million_total"]
        assert cost["low"] <= cost["value"] <= cost["high"]
        # Every answer has text, so all are accepted.
        assert one["cost"]["per_accepted"] == one["cost"]["per_request"]
        assert one["at_load"][0]["per_request"] == pytest.approx(one["dollars_per_hour"] / 10)
        for each in one["rounds"]:
            samples = read_samples(tmp_path / "out" / each["samples"])
            assert len(samples) == each["summary"]["completed"] == 4
            seconds = max(sample.ended for sample in samples) - min(sample.sent for sample in samples)
            assert each["dollars"] == pytest.approx(one["dollars_per_hour"] * seconds / 3600)
    assert [step["name"] for step in data["waterfall"]] == ["dear", "cheap", "response cache", "router"]
    assert [step["basis"] is None for step in data["waterfall"]] == [True, True, False, False]
    assert "not measured on these" in out
    assert data["waterfall"][1]["saved"] > 0  # at an 86th of the price
    assert [(one["configuration"], one["model"]) for one in data["break_even"]] == [
        ("dear", "openai-gpt-6-luna"),
        ("cheap", "openai-gpt-6-luna"),
    ]
    assert (tmp_path / "out" / "waterfall.svg").read_text().startswith("<?xml")
    order = [line.split(": ")[1] for line in err.splitlines() if "4 requests" in line]
    assert order == ["dear", "cheap", "cheap", "dear"]


async def test_answers_that_are_wrong_are_not_accepted(tmp_path: Path) -> None:
    async with live_server() as server:
        ran = await bench_cost(
            *("--prompts", rows(tmp_path, expect="never said"), *QUICK, "--url", server.url, "--dollars-per-hour", "1")
        )
    (one,) = figures(*ran)["data"]["configurations"]
    assert one["cost"]["per_accepted"] is None
    assert one["cost"]["per_request"]["value"] > 0


async def test_a_server_that_is_not_there_is_told_and_the_other_is_still_priced(tmp_path: Path) -> None:
    async with live_server() as server:
        code, out, _ = await bench_cost(
            *("--prompts", rows(tmp_path), *QUICK, "--config", "name=gone,url=http://127.0.0.1:9,dollars_per_hour=1"),
            *("--url", server.url, "--dollars-per-hour", "1"),
        )
    assert code == 1
    result = json.loads(out.splitlines()[-1])
    gone, there = result["data"]["configurations"]
    assert gone["cost"] is None
    assert gone["rounds"][0]["failure"]
    assert there["cost"] is not None
    assert any(complaint.startswith("gone, round 1 failed") for complaint in result["complaints"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name what to measure"),
        (["--url", "http://127.0.0.1:9"], "give dollars_per_hour"),
        (["--url", "http://127.0.0.1:9", "--dollars-per-hour", "cheap"], "dollars-per-hour"),
        (["--url", "http://127.0.0.1:9", "--dollars-per-hour", "1", "--requests", "99"], "take less --requests"),
        (["--url", "http://127.0.0.1:9", "--dollars-per-hour", "1", "--slo", "fast"], "'fast' is no objective"),
        (["--url", "http://127.0.0.1:9", "--dollars-per-hour", "1", "--against", "gpt"], "no model's price"),
    ],
)
async def test_what_cannot_be_measured_is_refused_before_it_begins(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, _, err = await bench_cost("--prompts", rows(tmp_path), *arguments)
    assert code in (1, 2)
    assert said in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.slow
async def test_peers_are_started_for_each_round(tmp_path: Path, default_model: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = tmp_path / "model"
    save_random_model(model, LlamaForCausalLM, LlamaConfig, default_model, seed=0, **sizes)
    system = tmp_path / "system.txt"
    system.write_text("Answer as the handbook says. " * 40)
    code, out, err = await bench_cost(
        *("--prompts", rows(tmp_path), *QUICK, "--model", str(model), "--system-prompt", str(system)),
        *("--config", "name=plain,peer=native,prefix_cache=off,options=--max-model-len 1024,dollars_per_hour=0.08"),
        *("--config", "name=cached,peer=native,options=--max-model-len 1024,dollars_per_hour=0.08"),
    )
    result = figures(code, out, err)
    plain, cached = result["data"]["configurations"]
    assert all(each["summary"]["cached_tokens"] in (0, None) for each in plain["rounds"])
    assert all(each["summary"]["cached_tokens"] > 0 for each in cached["rounds"])
    assert result["data"]["mix"]["cached_share"] > 0.5
    assert len(result["data"]["waterfall"]) == 2
