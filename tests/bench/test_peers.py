from __future__ import annotations

import json
from pathlib import Path

import pytest

from pennyweight.bench.peers.base import Peer, PeerFailed
from pennyweight.bench.peers.llama_cpp import LlamaCpp, tokens_that_fit
from pennyweight.bench.peers.pennyweight import Pennyweight
from pennyweight.bench.peers.vllm import Vllm

MODEL = Path("/models/tiny")
PEERS: list[Peer] = [
    Pennyweight(MODEL, "int8", kv_cache_gib=2),
    Vllm(Path("/venv/bin/python"), MODEL, "bfloat16", kv_cache_gib=2),
    Vllm(Path("/venv/bin/python"), MODEL, "bfloat16", kv_cache_gib=2, eager=True),
    LlamaCpp(Path("/bin/llama-server"), Path("/models/SmolLM2-135M.Q4_0.gguf"), cache_tokens=93206, streams=32),
]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.name}-{peer.variant}")
def test_every_peer_serves_on_the_loopback_interface_alone(peer: Peer) -> None:
    command = list(peer.command(8123))
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "8123"


def test_llama_cpp_has_no_more_cache_than_was_agreed() -> None:
    command = list(PEERS[-1].command(8123))
    assert int(command[command.index("--ctx-size") + 1]) == 90112  # 11 times 256 for each of 32 streams


def test_rows_are_named_after_what_sets_them_apart() -> None:
    assert [peer.variant for peer in PEERS] == ["int8", "bfloat16 compiled", "bfloat16 eager", "Q4_0"]


def test_a_peer_that_is_not_installed_is_told() -> None:
    with pytest.raises(PeerFailed, match="/venv/bin/python can't be run"):
        PEERS[1].version()


def test_our_version_is_the_installed_packages() -> None:
    assert PEERS[0].version().startswith("0.")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576, "num_hidden_layers": 30}, 93206),
        ({"num_attention_heads": 2, "head_dim": 128, "hidden_size": 64, "num_hidden_layers": 1}, 2097152),
    ],
)
def test_a_cache_size_comes_to_so_many_tokens(tmp_path: Path, config: dict[str, int], expected: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert tokens_that_fit(tmp_path, 2 * 1024**3) == expected
