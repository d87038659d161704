"""Servers with equal fingerprints give equal logits, to the bit: other processes, other starts, other settings, other company."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import transformers
from fakes.quantised_checkpoint import quantise_checkpoint
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.kernels.cpu.library import load_library
from pennyweight.kernels.quantised import Scheme

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(load_library() is None, reason="only the compiled kernels are the same to the bit"),
]

# The same words again and again fill chunks and blocks, and the second begins as the first does.
QUESTIONS = ["Tell me about bridges. " * 12, "Tell me about bridges. " * 12 + "In verse!", "What is a river?"]
# 30 layers with 3 heads of 64 in bfloat16, keys and values: about 560 tokens' worth, less than all want at once.
TIGHT = 2 * 30 * 3 * 64 * 2 * 560


@pytest.fixture(scope="module")
def w4a16(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of 4-bit weights, with the default model's tokenizer."""
    path = tmp_path_factory.mktemp("w4a16")
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=49152,
        max_position_embeddings=1024,
    )
    model = transformers.LlamaForCausalLM(config).float().eval()
    model.save_pretrained(path)
    quantise_checkpoint(path, model, Scheme.W4A16)
    for file in default_model.glob("*token*"):
        shutil.copy(file, path)
    return path


async def ask(server: ServerProcess, text: str, **changes: Any) -> tuple[Any, ...]:
    """The fingerprint and what was chosen from what: token ids and logits' hashes of two choices."""
    body = {"model": MODEL, "prompt": text, "max_tokens": 24, "n": 2, "deterministic": True, "ignore_eos": True}
    body |= {"return_token_ids": True, "logits_hashes": True, **changes}
    async with server.client.post("/v1/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["x-pennyweight-deterministic"] == "bitwise"
        found = await answer.json()
    return found["system_fingerprint"], [(one["token_ids"], one["logits_hashes"]) for one in found["choices"]]


async def ask_all(server: ServerProcess) -> list[tuple[Any, ...]]:
    """One question after the other, greedy and not."""
    return [await ask(server, text, temperature=temperature) for text in QUESTIONS for temperature in (0.0, 1.0)]


async def ask_all_in_company(server: ServerProcess) -> list[tuple[Any, ...]]:
    """All at once, among others that come and go."""

    async def other(number: int) -> None:
        body = {
            "model": MODEL,
            "prompt": f"{number} ".join(QUESTIONS[number % 3].split()),
            "max_tokens": 8 + 5 * number,
        }
        await asyncio.sleep(0.02 * number)
        async with server.client.post("/v1/completions", json=body) as answer:
            assert answer.status == 200

    others = [asyncio.create_task(other(number)) for number in range(12)]
    asked = [ask(server, text, temperature=temperature) for text in QUESTIONS for temperature in (0.0, 1.0)]
    found = await asyncio.gather(*asked)
    await asyncio.gather(*others)
    return found


@pytest.mark.parametrize("weights", ["bfloat16", "int8", "w4a16"])
async def test_equal_fingerprints_give_equal_logits(weights: str, w4a16: Path) -> None:
    engine: dict[str, Any] = {"dtype": weights}
    if weights == "w4a16":
        engine = {"model": str(w4a16), "served_model_name": [MODEL]}
    other = {
        "threads": 2,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 48,
        "enable_prefix_caching": False,
        "kv_cache_memory": TIGHT,
        "max_model_len": 512,
    }
    if weights == "w4a16":
        # Two layers with two heads of 16.
        other["kv_cache_memory"] = 2 * 2 * 2 * 16 * 2 * 560
    async with (
        server_process(engine={**engine, "threads": 1, "deterministic": "bitwise"}) as one,
        server_process(engine={**engine, **other}) as two,
    ):
        wanted = await ask_all(one)
        assert len({found[0] for found in wanted}) == 1
        assert await ask_all_in_company(two) == wanted
        assert await two.metric("num_preemptions_total") > 0
        assert await ask_all_in_company(one) == wanted
        os.kill(one.engine_pid(), signal.SIGKILL)
        await asyncio.sleep(0.2)
        await one.until_ready(60)
        assert await ask_all(one) == wanted
