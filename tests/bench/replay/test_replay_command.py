"""The command, on what real servers have recorded."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from fakes.replay_command import AS_JSON, CHAT, COMPLETIONS, chat, command, post
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.bench.peers.process import running
from pennyweight.bench.replay.verdict import Verdict
from pennyweight.bench.savings.step import serve
from pennyweight.server.engines.local.model_store import resolve

CHATS = 16
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HERE = {**os.environ, "COLUMNS": "160"}


@dataclass(frozen=True)
class Recorded:
    """A recording, and the server that made it, which still runs."""

    directory: Path
    server: ServerProcess
    requests: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recorded]:
    """A few dozen requests of all kinds, answered beside each other by the default model."""
    directory = tmp_path_factory.mktemp("recorded") / "recording"
    async with server_process(record={"directory": str(directory)}) as server:
        greedy = [post(server.client, CHAT, chat(f"Count to {place}.", temperature=0)) for place in range(CHATS // 2)]
        drawn = [post(server.client, CHAT, chat(f"Name {place} rivers.")) for place in range(CHATS // 2)]
        others = [
            post(
                server.client, COMPLETIONS, {"model": MODEL, "prompt": ["The sky", "The sea"], "max_tokens": 8, "n": 2}
            ),
            post(server.client, COMPLETIONS, {"model": MODEL, "prompt": [504, 6376], "max_tokens": 8, "logprobs": 1}),
            post(server.client, COMPLETIONS, {"model": MODEL, "prompt": "One, two,", "temperature": 0, "logprobs": 1}),
            post(server.client, CHAT, chat("A city as JSON.", temperature=0, max_tokens=40, response_format=AS_JSON)),
            post(
                server.client, CHAT, chat("Say yes.", stop=["e"], seed=3, presence_penalty=0.5, logit_bias={"504": 2})
            ),
        ]
        await asyncio.gather(*greedy, *drawn, *others)
        async with server.client.post(CHAT, json=chat("Stream.", stream=True, max_tokens=6)) as stream:
            assert b"[DONE]" in await stream.read()
        async with server.client.post(CHAT, json=chat("Too long. " * 9000)) as refused:
            assert refused.status == 400
        # Two prompts of one body are two records.
        yield Recorded(directory, server, CHATS + len(others) + 1 + 2)


def changed_copy(directory: Path, file: str, data: bytes) -> Path:
    """The default model with another file in it."""
    directory.mkdir()
    for path in resolve(MODEL).iterdir():
        (directory / path.name).symlink_to(path.resolve())
    (directory / file).unlink(missing_ok=True)
    (directory / file).write_bytes(data)
    return directory


async def test_a_recording_is_replayed_bitwise_by_a_server_of_its_own(recorded: Recorded, tmp_path: Path) -> None:
    done = await command("replay", recorded.directory, "--bitwise", "--concurrency", "5", "--out", tmp_path)
    assert done.code == 0, done.out + done.err
    totals = done.totals
    assert totals["verdicts"] == {
        Verdict.BITWISE.value: recorded.requests - 1,
        Verdict.REFUSED.value: 1,
    }
    assert totals["tokens"] == totals["matched"] > 200
    assert totals["manifests"] == []
    assert done.result["complaints"] == []
    assert json.loads((tmp_path / "result.json").read_text()) == done.result


@pytest.mark.parametrize("pace", [(), ("--concurrency", "16"), ("--trace", "--speed", "4")])
async def test_a_running_server_replays_its_own_recording_alone_under_load_and_as_it_came(
    recorded: Recorded, pace: tuple[str, ...]
) -> None:
    done = await command(
        "replay", recorded.directory, "--against", recorded.server.url, "--bitwise", "--limit", "12", *pace
    )
    assert done.code == 0, done.out + done.err
    assert done.totals["requests"] == 12
    assert done.result["data"]["bitwise"]


async def test_a_request_is_replayed_by_its_answers_id(recorded: Recorded) -> None:
    answer = await post(recorded.server.client, CHAT, chat("One more."))
    done = await command("replay", recorded.directory, answer["id"], "--against", recorded.server.url, "--bitwise")
    assert (done.code, done.totals["requests"]) == (0, 1)


async def test_an_exported_request_is_replayed_with_its_prompt_or_once_that_is_given(
    recorded: Recorded, tmp_path: Path
) -> None:
    case, prompt = tmp_path / "case.json", tmp_path / "prompt.json"
    body = chat("Which river is the longest?", temperature=0)
    answer = await post(recorded.server.client, CHAT, body)
    prompt.write_text(json.dumps(body))
    replay = ("replay", case, "--against", recorded.server.url, "--bitwise")
    for is_whole, options in ((True, ()), (False, ("--prompt", prompt))):
        whole = ("--with-prompt",) if is_whole else ()
        await command("record", "export", recorded.directory, answer["id"], "--out", case, *whole)
        done = await command(*replay, *options)
        assert done.code == 0, done.out + done.err
        assert done.totals["verdicts"] == {Verdict.BITWISE.value: 1}
    missing = await command(*replay)
    assert missing.code != 0
    assert "exported without its prompt: give it with --prompt FILE" in " ".join(missing.err.split())


async def test_a_flipped_bit_of_the_weights_is_found_and_named(recorded: Recorded, tmp_path: Path) -> None:
    (weights,) = (path for path in resolve(MODEL).iterdir() if path.suffix == ".safetensors")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0x40
    model = changed_copy(tmp_path / "model", weights.name, bytes(data))
    done = await command("replay", recorded.directory, "--against", model, "--bitwise", "--limit", "6")
    assert done.code == 1
    (change,) = done.totals["manifests"]
    assert [part["name"] for part in change["parts"]] == ["weights"]
    assert "weights" in done.out
    assert done.totals["verdicts"].get(Verdict.BITWISE.value, 0) < 6
    assert not done.result["data"]["bitwise"]


async def test_another_template_is_found_in_the_prompt_and_named(recorded: Recorded, tmp_path: Path) -> None:
    config = json.loads((resolve(MODEL) / "tokenizer_config.json").read_text())
    assert "You are a helpful" in config["chat_template"]
    config["chat_template"] = config["chat_template"].replace("You are a helpful", "You are an unhelpful")
    model = changed_copy(tmp_path / "model", "tokenizer_config.json", json.dumps(config).encode())
    done = await command("replay", recorded.directory, "--against", model, "--limit", "4")
    assert done.code == 0
    assert done.totals["verdicts"] == {Verdict.PROMPT.value: 4}
    (change,) = done.totals["manifests"]
    assert [part["name"] for part in change["parts"]] == ["template"]
    shown = done.totals["shown"][0]
    assert shown["recorded_text"].startswith(" a helpful")
    assert shown["replayed_text"].startswith(" an un")
    # The model is the same: what it says of the recorded tokens is what was recorded.
    assert done.result["data"]["top1_agreement"] == 1.0


async def test_another_tokenizer_is_named(recorded: Recorded, tmp_path: Path) -> None:
    tokenizer = json.loads((resolve(MODEL) / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:20000]
    model = changed_copy(tmp_path / "model", "tokenizer.json", json.dumps(tokenizer).encode())
    done = await command("replay", recorded.directory, "--against", model, "--limit", "6", "--bitwise")
    assert done.code == 1
    assert done.totals["verdicts"].get(Verdict.PROMPT.value, 0) > 0
    assert [part["name"] for part in done.totals["manifests"][0]["parts"]] == ["tokenizer"]


async def test_other_chunks_on_kernels_that_vary_with_them_are_found_and_named(tmp_path: Path) -> None:
    # PyTorch's own, whose sums in float32 depend on how many rows there are, where these are few: of small chunks, and after a hit of the
    # prefix cache.
    directory = tmp_path / "recording"
    engine = {"dtype": "float32", "enable_prefix_caching": False, "kernels": "torch"}
    record = {"directory": str(directory)}
    async with server_process(engine=engine, record=record) as server:
        await post(server.client, CHAT, chat("Tell me more of this. " * 12, temperature=0, max_tokens=2))
        same = await command("replay", directory, "--limit", "1", "--bitwise", "--against", server.url)
    assert same.code == 0, same.out
    small = "--max-num-seqs 4 --max-num-batched-tokens 16"
    chunked = f"{MODEL} --dtype float32 --kernels torch --no-enable-prefix-caching {small}"
    other = await command(*("replay", directory, "--limit", "1", "--bitwise", "--against", chunked), environment=HERE)
    assert other.code == 1, other.out
    assert Verdict.BITWISE.value not in other.totals["verdicts"]
    (change,) = other.totals["manifests"]
    assert [part["name"] for part in change["parts"]] == ["max_num_batched_tokens"]


CONFIGURATION = {
    "engine": {"kv_cache_memory": "256MiB"},
    "models": {"small": {"model": MODEL, "dtype": "int8"}, "large": {"model": MODEL}},
    "tiers": {"quick": {"models": ["small"]}, "deep": {"models": ["large"]}},
    "router": {"policy": "length", "between": ["quick", "deep"], "default_tier": "quick", "long_prompt": 100},
    "response_cache": {"max_bytes": "16MiB"},
}


async def test_what_was_routed_cached_and_structured_is_decided_and_answered_again(tmp_path: Path) -> None:
    directory, configuration = tmp_path / "recording", tmp_path / "server.yaml"
    settings = {**CONFIGURATION, "record": {"directory": str(directory)}}
    short = chat("A city as JSON.", model="auto", temperature=0, max_tokens=24, response_format=AS_JSON)
    long = chat(
        "A city, please. " * 8 + "As JSON.", model="auto", temperature=0, max_tokens=24, response_format=AS_JSON
    )
    async with running(serve(settings, configuration)) as server, aiohttp.ClientSession(server.url) as client:
        for body in (short, long, short, short, long):
            await post(client, CHAT, body)
    files = list(directory.iterdir())
    done = await command("replay", directory, "--against", configuration, "--bitwise", environment=HERE)
    assert done.code == 0, done.out + done.err
    totals = done.totals
    assert totals["verdicts"] == {Verdict.BITWISE.value: 5}
    assert (totals["routed"], totals["same_route"]) == (5, 5)
    assert totals["cached"] == {
        **{"requests": 5, "same_key": 5, "same_answer": 5},
        "results": {"miss, now miss": 2, "hit, now hit": 3},
    }
    assert list(directory.iterdir()) == files, "a replay is not recorded"


async def test_a_drift_is_none_to_oneself_and_some_to_another_precision(recorded: Recorded, tmp_path: Path) -> None:
    out, url = tmp_path / "drift", recorded.server.url
    asked = ("--recording", recorded.directory, "--limit", "12")
    none = await command("drift", url, url, *asked)
    assert none.code == 0, none.err
    same = none.result["data"]["drift"]
    assert same["requests"] == 12
    assert same["parts"] == []
    assert (same["answers"]["equal"]["value"], same["forced"]["top1"]["value"]) == (1.0, 1.0)
    assert (same["forced"]["kl"]["value"], same["forced"]["largest_difference"]) == (0.0, 0.0)

    done = await command("drift", url, f"{MODEL} --dtype int8", *asked, "--out", out)
    assert done.code == 0, done.err
    drift = done.result["data"]["drift"]
    assert "precision" in [part["name"] for part in drift["parts"]]
    assert drift["requests"] == 12
    assert 0.5 < drift["forced"]["top1"]["value"] < 1
    assert 0 < drift["forced"]["kl"]["low"] <= drift["forced"]["kl"]["value"] < 0.5
    assert 0 < drift["forced"]["difference"]["value"] < drift["forced"]["largest_difference"]
    assert "Drift between two engines" in (out / "report.html").read_text()
