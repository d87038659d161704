from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pennyweight.bench.peers.entry import Serving, parse_target
from pennyweight.bench.peers.llama_cpp import LlamaCpp
from pennyweight.bench.peers.target import Target
from pennyweight.server.errors import ConfigError

SERVING = Serving(Path("/models/tiny"), Path("/venv/bin/python"), 2)


def one(text: str, serving: Serving = SERVING) -> Target:
    return parse_target(text, serving)


def command(target: Target) -> list[str]:
    assert target.peer is not None
    return list(target.peer.command(8123))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("peer=native", "pennyweight bfloat16"),
        ("peer=native,dtype=int8,prefix_cache=off", "pennyweight int8 without prefix cache"),
        ("peer=vllm,dtype=float32,eager=on", "vllm float32 eager"),
        ("peer=on-vllm,dtype=float32", "pennyweight on vLLM float32 compiled"),
        ("peer=vllm,model=/models/tiny-W8A8", "vllm tiny-W8A8 compiled"),
        ("name=mine,peer=native", "mine"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("serve --port {port}", "serve --port {port}"),
    ],
)
def test_what_has_no_name_is_called_after_what_it_is(text: str, name: str) -> None:
    assert one(text).name == name


def test_a_url_is_asked_for_a_model_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    found = one("url=http://127.0.0.1:8000,model=small,api_key_env=SMALL_KEY")
    monkeypatch.setenv("SMALL_KEY", "secret")
    assert (found.url, found.model, found.api_key, found.peer) == ("http://127.0.0.1:8000", "small", "secret", None)
    assert "secret" not in str(found.describe())


def test_a_command_is_a_line_for_the_shell_in_the_directory_of_who_wrote_it() -> None:
    found = one("name=mine,model=small,command=THREADS=2 serve --port {port} --dtypes a=b,c")
    assert command(found) == [
        "/bin/sh",
        "-c",
        f"cd {shlex.quote(str(Path.cwd()))} && THREADS=2 serve --port 8123 --dtypes a=b,c",
    ]
    assert found.model == "small"
    assert found.peer is not None
    assert found.peer.ready_path == "/v1/models"
    # An assignment before a command is no key of ours.
    assert command(one("THREADS=2 serve {port}"))[-1].endswith("&& THREADS=2 serve 8123")


def test_vllm_and_our_server_on_its_engine_are_started_as_they_are_described() -> None:
    assert {"--enforce-eager", "--dtype", "float32"} <= set(command(one("peer=vllm,dtype=float32,eager=on")))
    ours = command(one("peer=on-vllm,dtype=float32,eager=on"))
    assert ours[ours.index("--engine") + 1] == "vllm"
    assert ours[ours.index("--engine-python") + 1] == "/venv/bin/python"
    assert "--enforce-eager" in ours


def test_llama_cpp_divides_a_cache_of_the_agreed_size(tmp_path: Path) -> None:
    config = {"num_attention_heads": 2, "head_dim": 128, "hidden_size": 64, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    serving = Serving(tmp_path, None, 2, Path("/bin/llama-server"), streams=8)
    found = one("peer=llama.cpp,gguf=/models/tiny-Q4_0.gguf,options=--no-mmap", serving)
    assert isinstance(found.peer, LlamaCpp)
    assert (found.name, found.peer.streams, found.peer.cache_tokens) == ("llama.cpp Q4_0", 8, 2097152)
    assert command(found)[-1] == "--no-mmap"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("native:int8", "'native:int8' is no server to measure"),
        ("peer=llama.cpp", "llama.cpp wants --llama-server, its binary, and gguf"),
        ("peer=native,url=http://x", "one of them"),
        ("peer=native,dollars_per_hour=1", "unknown field `dollars_per_hour`"),
        ("peer=sglang", "Invalid enum value 'sglang'"),
        ("peer=native,int8", "'int8' is not of the form key=value"),
        ("name=a,command=serve", "'serve' has no {port}"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        one(text)
    assert said in str(refused.value)
