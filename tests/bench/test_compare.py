from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fakes import completion_server
from fakes.tiny_words import save_word_tokenizer

CONFIG = {"num_attention_heads": 2, "hidden_size": 64, "num_hidden_layers": 1}


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The comparison of a server that answers as llama-server does."""
    save_word_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    server = tmp_path / "llama-server"
    server.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec echo "version 7"\n'
        f'exec {shlex.join([sys.executable, completion_server.__file__])} "$6" 0\n'
    )
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    compare = [
        sys.executable,
        "-m",
        "pennyweight.server.cli",
        "bench",
        "compare",
        "--model",
        str(tmp_path),
        "--rounds",
        "2",
    ]
    load = ["--concurrency", "1", "--concurrency", "2", "--waves", "1", "--prompt-tokens", "4", "--output-tokens", "3"]
    files = ["--gguf", str(tmp_path / "tiny-Q8_0.gguf"), "--gguf", str(tmp_path / "tiny-Q4_0.gguf")]
    return [*compare, *load, "--only", "llama", "--llama-server", str(server), *files]


def test_rounds_are_interleaved_and_the_last_line_is_the_whole_result(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "results" / "all"
    ran = subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, text=True)
    result = json.loads(ran.stdout.splitlines()[-1])
    assert json.loads((out / "result.json").read_text()) == result
    assert [(one["round"], one["variant"]) for one in result["data"]["measurements"]] == [
        (0, "Q8_0"),
        (0, "Q4_0"),
        (1, "Q4_0"),
        (1, "Q8_0"),
    ]
    assert [(row["variant"], row["rounds"]) for row in result["data"]["rows"]] == [("Q8_0", 2), ("Q4_0", 2)]
    assert result["versions"]["llama.cpp"] == "version 7"
    assert result["versions"]["pennyweight"]
    assert result["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert result["command"].startswith("pennyweight bench compare --model ")
    assert "llama.cpp Q8_0" in ran.stdout
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
        comparison.stderr.read()
    assert comparison.returncode != 0
    assert psutil.wait_procs(started, timeout=5)[1] == []
