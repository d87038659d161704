"""Each family against transformers: logprobs of the whole vocabulary at every position, through chunks and batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes.tiny_models import (
    FAMILIES,
    VOCAB_SIZE,
    Answer,
    dense,
    make_core,
    random_prompt,
    run,
    save_tiny_model,
    step,
    submit,
)
from safetensors.torch import load_file, save_file

from pennyweight.server.engines.native import model_config
from pennyweight.server.engines.native.families import registry
from pennyweight.server.errors import ModelError


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_logprobs_equal_those_of_transformers(kind: str, kernels: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, kind)
    core = make_core(tmp_path, kernels=kernels)
    prompts = {"short": random_prompt(5, 1), "long": random_prompt(70, 2), "late": random_prompt(23, 3)}
    asked = {"logprobs": VOCAB_SIZE, "prompt_logprobs": VOCAB_SIZE}
    answers: dict[str, Answer] = {}
    submit(core, "short", prompts["short"], 12, **asked)
    submit(core, "long", prompts["long"], 12, **asked)
    for _ in range(3):
        step(core, answers)
    submit(core, "late", prompts["late"], 12, **asked)
    run(core, answers)
    for name, prompt in prompts.items():
        answer = answers[name]
        tokens = torch.tensor([prompt + answer.token_ids])
        with torch.inference_mode():
            expected = model(tokens).logits[0].log_softmax(dim=-1)
        got = dense(answer.prompt_logprobs + answer.logprobs)
        assert got.shape[0] == len(prompt) - 1 + 12
        torch.testing.assert_close(got, expected[:-1], atol=1e-4, rtol=0)
        assert answer.token_ids == expected[len(prompt) - 1 : -1].argmax(dim=-1).tolist()


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 0.05), ("int8", 0.1)])
@pytest.mark.parametrize("kind", ["llama-tied", "qwen2", "qwen3"])
def test_lower_precisions_stay_close(kind: str, precision: str, bound: float, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, kind)
    core = make_core(tmp_path, dtype=precision)
    prompt = random_prompt(60, 4)
    submit(core, "one", prompt, 8, logprobs=VOCAB_SIZE, prompt_logprobs=VOCAB_SIZE)
    answer = run(core)["one"]
    with torch.inference_mode():
        expected = model(torch.tensor([prompt + answer.token_ids])).logits[0].log_softmax(dim=-1)
    assert (dense(answer.prompt_logprobs + answer.logprobs) - expected[:-1]).abs().mean() < bound


def test_every_family_that_configurations_name_is_there() -> None:
    assert set(registry.FAMILIES) == set(model_config.FAMILIES.values())


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "qwen3")
    change_tensors(tmp_path, remove="model.layers.1.self_attn.k_norm.weight")
    with pytest.raises(ModelError, match=r"no tensor model\.layers\.1\.self_attn\.k_norm\.weight"):
        make_core(tmp_path)


def test_a_tensor_that_would_be_ignored_is_an_error(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama")
    change_tensors(tmp_path, add="model.layers.0.self_attn.q_proj.bias")
    with pytest.raises(ModelError, match=r"does not account for: model\.layers\.0\.self_attn\.q_proj\.bias"):
        make_core(tmp_path)


def change_tensors(path: Path, *, add: str | None = None, remove: str | None = None) -> None:
    file = path / "model.safetensors"
    tensors = load_file(file)
    if add is not None:
        tensors[add] = torch.zeros(64)
    if remove is not None:
        del tensors[remove]
    save_file(tensors, file, metadata={"format": "pt"})
