"""The command as a whole; what it computes with is tested beside this."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from fakes.random_models import save_random_model
from transformers import LlamaConfig, LlamaForCausalLM


async def bench_savings(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pennyweight.server.cli", "bench", "savings", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def rows(path: Path, count: int = 40) -> str:
    file = path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": f"Question {number}? " + "Why? " * number}) + "\n" for number in range(count))
    )
    return str(file)


@pytest.mark.slow
async def test_servers_of_their_own_are_started_for_every_step(tmp_path: Path, default_model: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = tmp_path / "model"
    save_random_model(model, LlamaForCausalLM, LlamaConfig, default_model, seed=0, **sizes)
    code, out, err = await bench_savings(
        *("--prompts", rows(tmp_path), "--model", str(model), "--requests", "6", "--rounds", "1", "--warm-up", "1"),
        *("--output-tokens", "4", "--hits", "5", "--rate", "20", "--repeat-share", "0", "--repeat-share", "0.5"),
        *("--kv-cache", "64MiB", "--strong-share", "0.3", "--out", str(tmp_path / "out")),
    )
    result = json.loads(out.splitlines()[-1])
    assert all("late" in one or "every prompt went" in one for one in result["complaints"]), err
    assert code == (1 if result["complaints"] else 0)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    costs = {(one["step"], one["repeat_share"]): one for one in result["data"]["costs"]}
    assert len(costs) == 8
    assert costs["everything off", 0.5]["dear_share"] == 1
    assert costs["response cache", 0.5]["free_share"] == 0.5
    assert costs["both", 0.5]["times_cheaper"]["value"] > costs["response cache", 0.5]["times_cheaper"]["value"] > 1
    assert all(one["accepted"] == 6 for one in costs.values())
    assert len(result["data"]["hits"]) == 2
    assert [one["samples"] for one in result["data"]["streams"]][-1] == "samples-7.jsonl.gz"
    assert (tmp_path / "out" / "samples-7.jsonl.gz").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What cache and router save" in page
    assert "<svg" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--requests", "20", "--rounds", "1"], "prompts are needed"),
        (["--requests", "4", "--rounds", "1", "--policy", "learned"], "wants --router"),
        (["--requests", "4", "--policy", "cascade"], "--policy is length or learned"),
        (["--requests", "4", "--repeats", "often"], "--repeats is zipf or uniform"),
        (["--requests", "4", "--cheap-price", "gpt"], "no model's price"),
        (["--requests", "4", "--slo", "fast"], "'fast' is no objective"),
    ],
)
async def test_what_cannot_be_measured_is_refused_before_it_begins(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, _, err = await bench_savings("--prompts", rows(tmp_path), *arguments)
    assert code in (1, 2)
    assert said in " ".join(err.split())
    assert "Traceback" not in err
