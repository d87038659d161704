"""The command as a whole, with scripted servers; what it computes with is tested beside this."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp.test_utils import TestServer
from fakes import completion_server
from fakes.completion_server import CompletionServer
from fakes.live_server import live_server
from fakes.tiny_words import save_word_tokenizer

from pennyweight.bench.load.raw import read_samples

CONFIG = {"num_attention_heads": 2, "hidden_size": 64, "num_hidden_layers": 1}
COMPARE = (sys.executable, "-m", "pennyweight.server.cli", "bench", "compare")
LOAD = ("--concurrency", "1,2", "--waves", "1", "--prompt-tokens", "4", "--output-tokens", "3")
# A server that is started by a command, with what follows its port: short_by, pause, prefill, dies_at.
SERVER = f"{shlex.join([sys.executable, completion_server.__file__])} {{port}}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's directory as far as a comparison reads it."""
    save_word_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def command(model: Path) -> list[str]:
    """The comparison of two servers that answer as llama-server does."""
    server = model / "llama-server"
    server.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec echo "version 7"\n'
        f'exec {shlex.join([sys.executable, completion_server.__file__])} "$6" 0\n'
    )
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    peers = [f"peer=llama.cpp,gguf={model / name}" for name in ("tiny-Q8_0.gguf", "tiny-Q4_0.gguf")]
    return [*COMPARE, *peers, "--model", str(model), "--rounds", "2", *LOAD, "--llama-server", str(server)]


async def compared(*arguments: str) -> tuple[int, dict[str, Any], str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMPARE, *LOAD, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    lines = out.decode().splitlines()
    return process.returncode, json.loads(lines[-1]) if lines else {}, out.decode(), err.decode()


def serious(result: dict[str, Any]) -> list[str]:
    """The complaints but those that only a busy machine is to blame for."""
    return [one for one in result["complaints"] if "late" not in one and "cores busy" not in one]


def test_rounds_are_interleaved_and_the_last_line_is_the_whole_result(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "results" / "all"
    ran = subprocess.run([*command, "--out", str(out)], check=False, capture_output=True, text=True)
    result = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == (1 if result["complaints"] else 0)
    assert serious(result) == []
    assert json.loads((out / "result.json").read_text()) == result
    data = result["data"]
    assert [(one["round"], one["label"]) for one in data["measurements"]] == [
        (0, "llama.cpp Q8_0"),
        (0, "llama.cpp Q4_0"),
        (1, "llama.cpp Q4_0"),
        (1, "llama.cpp Q8_0"),
    ]
    assert [(row["variant"], row["rounds"]) for row in data["rows"]] == [("Q8_0", 2), ("Q4_0", 2)]
    speed = next(one for one in data["ratios"] if one["measure"] == "output_tokens_per_second@2")
    assert (speed["name"], speed["baseline"], speed["rounds"]) == ("llama.cpp Q4_0", "llama.cpp Q8_0", 2)
    assert speed["low"] <= speed["value"] <= speed["high"]
    assert data["rows"][1]["ratios"]["output_tokens_per_second@2"] == speed["value"]
    for one in data["measurements"]:
        for load in one["loads"]:
            assert len(read_samples(out / load["raw_file"])) == load["requests"] == 8
    assert result["settings"]["baseline"] == "llama.cpp Q8_0"
    assert result["versions"]["llama.cpp"] == "version 7"
    assert result["versions"]["pennyweight"]
    assert result["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert result["command"].startswith("pennyweight bench compare peer=llama.cpp,gguf=")
    assert "interval excludes 1" in ran.stdout
    assert "round 2 of 2: llama.cpp Q4_0: starting" in ran.stderr


def test_a_terminated_comparison_leaves_no_server_behind(command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as comparison:
        assert comparison.stderr is not None
        for line in comparison.stderr:
            if "at once" in line:
                break
        started = psutil.Process(comparison.pid).children(recursive=True)
        assert started
        comparison.send_signal(signal.SIGTERM)
        said = comparison.stderr.read()
    assert comparison.returncode != 0
    assert "Traceback" not in said
    assert psutil.wait_procs(started, timeout=5)[1] == []


@pytest.mark.slow
def test_what_was_measured_before_an_interruption_is_kept(command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as comparison:
        assert comparison.stderr is not None
        assert comparison.stdout is not None
        for line in comparison.stderr:
            if "round 1 of 2: llama.cpp Q4_0: 8 requests" in line:
                break
        comparison.send_signal(signal.SIGINT)
        out = comparison.stdout.read()
    assert comparison.returncode == 1
    result = json.loads(out.splitlines()[-1])
    assert [one["label"] for one in result["data"]["measurements"]] == ["llama.cpp Q8_0"]
    assert "the run was interrupted before its last round" in result["complaints"]


async def test_a_running_server_beside_a_command_that_starts_one(model: Path) -> None:
    server = CompletionServer()
    async with TestServer(server.app()) as running:
        url = str(running.make_url("")).rstrip("/")
        code, result, out, err = await compared(
            *(url, f"name=slow,ready_path=/health,command={SERVER} 0 0.02"),
            *("--rounds", "1", "--tokenizer", str(model)),
        )
    assert result, err
    assert serious(result) == [], err
    assert code == (1 if result["complaints"] else 0)
    there, slow = result["data"]["measurements"]
    assert (there["peer"], there["variant"], there["seconds_to_ready"]) == ("url", url, None)
    # It runs in this very process, which is found by its port.
    assert there["resident_bytes"] > 0
    assert there["loads"][0]["cpu_seconds_per_request"] > 0
    assert slow["seconds_to_ready"] > 0
    speed = next(one for one in result["data"]["ratios"] if one["measure"] == "output_tokens_per_second@1")
    assert speed["value"] < 0.7
    assert speed["is_better"] is False
    assert not any(one["measure"] == "seconds_to_ready" for one in result["data"]["ratios"])
    assert "yes: worse" in out


@pytest.mark.slow
async def test_all_get_the_same_prompts_in_a_round_and_others_in_the_next(model: Path) -> None:
    server = CompletionServer()
    async with TestServer(server.app()) as running:
        url = str(running.make_url(""))
        code, result, _, err = await compared(
            *(f"name=a,url={url}", f"name=b,url={url}"), "--rounds", "2", "--tokenizer", str(model)
        )
    assert result, err
    assert serious(result) == [], err
    assert code == (1 if result["complaints"] else 0)
    prompts = [tuple(body["prompt"]) for body in server.bodies]
    a_round = len(prompts) // 4
    first, second, third, fourth = (set(prompts[at * a_round : (at + 1) * a_round]) for at in range(4))
    assert first == second
    assert third == fourth
    assert not first & third
    assert all(len(one) == a_round for one in (first, third))


@pytest.mark.slow
async def test_servers_that_fail_are_told_and_the_others_are_still_measured(model: Path) -> None:
    async with TestServer(CompletionServer().app()) as running:
        code, result, out, _ = await compared(
            str(running.make_url("")),
            "name=never,command=echo no such model; exit 4; {port}",
            f"name=dies,command={SERVER} 0 0.002 0 15",
            *("--rounds", "2", "--tokenizer", str(model), "--ready-path", "/health"),
        )
    assert code == 1
    told = serious(result)
    assert [one.split(" failed: ")[0] for one in told] == [
        f"{name}, round {number}" for number, name in ((1, "never"), (1, "dies"), (2, "never"), (2, "dies"))
    ]
    assert any("ended with 4 before it was ready: no such model" in one for one in told)
    assert any(one.startswith("dies, round 1 failed: a request failed") for one in told)
    there, never, dies = result["data"]["rows"]
    assert (there["rounds"], len(never["failures"]), len(dies["failures"])) == (2, 2, 2)
    assert result["data"]["ratios"] == []
    assert "0 of 2" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://127.0.0.1:9"], "name two servers or more"),
        (["http://127.0.0.1:9", "http://127.0.0.1:9"], "two servers have one name"),
        (["http://127.0.0.1:9", "vllm"], "'vllm' is no server to measure: write a URL"),
        (["http://127.0.0.1:9", "peer=native,dtype=int8"], "a peer wants --model"),
        (["http://127.0.0.1:9", "command=serve --port 80"], "has no {port}"),
        (["serve {port}", "serve2 {port}"], "name the model's by --tokenizer"),
        (["http://127.0.0.1:9", "http://127.0.0.1:10"], "lists no model"),
        (["http://127.0.0.1:9", "http://127.0.0.1:10", "--concurrency", "many"], "'many' is no concurrency"),
        (["http://127.0.0.1:9", "http://127.0.0.1:10", "--concurrency", "inf"], "takes whole numbers"),
        (["http://127.0.0.1:9", "http://127.0.0.1:10", "--tokenizer", "nowhere"], "there is no nowhere"),
    ],
)
async def test_what_cannot_be_measured_is_refused_before_it_begins(arguments: list[str], said: str) -> None:
    code, _, _, err = await compared(*arguments)
    assert code in (1, 2)
    assert said in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


async def test_chats_with_the_real_server(model: Path) -> None:
    async with live_server() as server:
        code, result, _, err = await compared(
            *(f"name=a,url={server.url}", f"name=b,url={server.url}/v1", "--rounds", "1", "--endpoint", "chat"),
            # The scripted engine's answers end after two tokens.
            *("--tokenizer", str(model), "--output-tokens", "2"),
        )
    assert result, err
    assert serious(result) == [], err
    assert code == (1 if result["complaints"] else 0)
    a, b = result["data"]["measurements"]
    assert [load["requests"] for load in a["loads"]] == [8, 8]
    # The chat's template adds to the 4 words, by the same for both.
    assert a["loads"][0]["prompt_tokens"] == b["loads"][0]["prompt_tokens"] > 8 * 4
    assert a["loads"][0]["output_tokens"] == 8 * 2
