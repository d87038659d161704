from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pennyweight.bench.cost.configuration import Configuration, described, parse_entry, read_entries, resolve
from pennyweight.bench.peers.entry import Serving
from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import load_prices

SERVING = Serving(Path("/models/tiny"), Path("/venv/bin/python"), 2)
BOOK = load_prices()


def one(text: str, serving: Serving = SERVING) -> Configuration:
    return resolve([parse_entry(text)], serving, BOOK)[0]


def test_a_native_peer_is_started_as_it_is_described() -> None:
    found = one(
        "name=native int8,peer=native,dtype=int8,prefix_cache=off,options=--max-num-seqs 8,dollars_per_hour=0.08"
    )
    assert (found.name, found.dollars_per_hour, found.url) == ("native int8", Decimal("0.08"), None)
    assert found.peer is not None
    command = list(found.peer.command(8123))
    assert command[command.index("--dtype") + 1] == "int8"
    assert "--no-enable-prefix-caching" in command
    assert command[command.index("--max-num-seqs") + 1] == "8"
    assert described(found)["dollars_per_hour"] == 0.08


def test_a_vllm_peer_tells_what_it_cached() -> None:
    found = one("name=v,peer=vllm,dtype=float32,eager=on,prefix_cache=off,aside=on,dollars_per_hour=1")
    assert found.peer is not None
    command = list(found.peer.command(8123))
    assert {"--enforce-eager", "--no-enable-prefix-caching", "--enable-prompt-tokens-details"} <= set(command)
    assert found.is_aside
    cached = one("name=v,peer=vllm,dollars_per_hour=1").peer
    assert cached is not None
    assert "--no-enable-prefix-caching" not in cached.command(1)


def test_a_price_comes_from_the_books() -> None:
    found = one("name=a,url=http://127.0.0.1:8000,price=lambda-h100-x8,count=8")
    assert found.dollars_per_hour == BOOK.gpu("lambda-h100-x8").dollars_per_hour * 8
    assert found.peer is None
    assert one("name=a,peer=native,price=aws-c7a-xlarge").dollars_per_hour == Decimal("0.20528")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peer=native,dollars_per_hour=1", "missing required field `name`"),
        ("name=a,dollars_per_hour=1", "name a peer (native, on-vllm, vllm, llama.cpp), a url or a command, one of them"),
        ("name=a,peer=native,url=http://x,dollars_per_hour=1", "one of them"),
        ("name=a,peer=native", "give dollars_per_hour, or a price"),
        ("name=a,peer=native,dollars_per_hour=1,price=aws-h100", "one of both"),
        ("name=a,peer=native,dollars_per_hour=0", "must be more than 0"),
        ("name=a,peer=native,dollars_per_hour=-1", "must be more than 0"),
        ("name=a,peer=native,dollars_per_hour=nan", "must be more than 0"),
        ("name=a,peer=native,dollars_per_hour=cheap", "Invalid decimal"),
        ("name=a,peer=native,price=aws-h100,count=0", "count is 0"),
        ("name=a,peer=native,price=openai-gpt-6-luna", "a hosted model, which has no price an hour"),
        ("name=a,peer=native,price=aws-h10", "perhaps aws-h100"),
        ("name=a,peer=sglang,dollars_per_hour=1", "Invalid enum value 'sglang'"),
        ("name=a,peer=native,dollars=1", "unknown field `dollars` (a configuration has"),
        ("name=a,name=b", "name comes twice"),
        ("name", "'name' is not of the form key=value"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        one(text)
    assert said in str(refused.value)


def test_peers_want_what_they_serve() -> None:
    with pytest.raises(ConfigError, match="--model"):
        one("name=a,peer=native,dollars_per_hour=1", Serving(None, None, 2))
    with pytest.raises(ConfigError, match="--vllm-python"):
        one("name=a,peer=vllm,dollars_per_hour=1", Serving(Path("m"), None, 2))


def test_two_of_one_name_are_refused() -> None:
    entry = parse_entry("name=a,peer=native,dollars_per_hour=1")
    with pytest.raises(ConfigError, match="two configurations have one name"):
        resolve([entry, entry], SERVING, BOOK)


def test_a_file_holds_a_list_of_them(tmp_path: Path) -> None:
    file = tmp_path / "configurations.yaml"
    file.write_text("configurations:\n- {name: a, peer: native, prefix_cache: off, dollars_per_hour: 0.08}\n")
    (entry,) = read_entries(file)
    assert entry == parse_entry("name=a,peer=native,prefix_cache=off,dollars_per_hour=0.08")
    for text, said in (
        ("configurations: []", "with a list"),
        ("- a", "with a list"),
        ("configurations: [{peer: native}]", "configuration 1: Object missing required field `name`"),
        ("a: [", "can't be read"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match="yaml") as refused:
            read_entries(file)
        assert said in str(refused.value)
