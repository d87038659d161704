"""Quantised checkpoints in the engine: what they compute is what transformers computes with the weights that they stand for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes.quantised_checkpoint import quantise_checkpoint
from fakes.tiny_models import VOCAB_SIZE, dense, make_core, random_prompt, run, save_tiny_model, submit

from pennyweight.kernels.quantised import Scheme
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.native.model_runner import ModelRunner
from pennyweight.server.errors import ModelError


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize(
    ("scheme", "dtype", "bound"),
    [
        (Scheme.W8A8, "float32", 0.1),
        (Scheme.W8A16, "float32", 1e-4),
        (Scheme.W4A16, "float32", 1e-4),
        (Scheme.W8A16, "bfloat16", 0.05),
        (Scheme.W4A16, "bfloat16", 0.05),
    ],
)
@pytest.mark.parametrize("kind", ["llama-tied", "qwen2", "qwen3"])
def test_logprobs_are_those_of_the_dequantised_model(
    kind: str, scheme: Scheme, dtype: str, bound: float, kernels: str, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path, kind)
    quantise_checkpoint(tmp_path, model, scheme)
    core = make_core(tmp_path, dtype=dtype, kernels=kernels)
    prompts = {"short": random_prompt(5, 1), "long": random_prompt(70, 2)}
    for name, prompt in prompts.items():
        submit(core, name, prompt, 12, logprobs=VOCAB_SIZE, prompt_logprobs=VOCAB_SIZE)
    answers = run(core)
    for name, prompt in prompts.items():
        answer = answers[name]
        with torch.inference_mode():
            expected = model(torch.tensor([prompt + answer.token_ids])).logits[0].log_softmax(dim=-1)
        assert (dense(answer.prompt_logprobs + answer.logprobs) - expected[:-1]).abs().mean() < bound


@pytest.mark.parametrize("scheme", Scheme)
def test_quantised_weights_take_up_what_they_should(scheme: Scheme, tmp_path: Path) -> None:
    quantise_checkpoint(tmp_path, save_tiny_model(tmp_path, "llama"), scheme)
    config = json.loads((tmp_path / "config.json").read_text())
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    weights = layers * hidden * (2 * hidden + 2 * config["num_key_value_heads"] * config["head_dim"] + 3 * inner)
    head = -(-VOCAB_SIZE // 16) * 16 * hidden * 2
    settings = EngineSettings(dtype="bfloat16", device="cpu", threads=1, kv_cache_memory=4 << 20)
    runner = ModelRunner(tmp_path, settings, on_progress=lambda done, total: None)
    packed = runner.cost.weight_bytes - head
    per_weight = packed / weights
    # Channels and columns are padded to 16 and 64; codes have 3 bytes for each channel and group beside them.
    assert per_weight == pytest.approx(scheme.bits / 8 + (3 / 32 if scheme is Scheme.W4A16 else 0.05), rel=0.35)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "gptq", "bits": 3}, "3 bits"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "gemv"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "marlin-24"),
    ],
)
def test_a_format_that_is_not_read_is_refused_by_name(config: dict[str, object], named: str, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama")
    whole = json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": config}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    with pytest.raises(ModelError, match=named):
        make_core(tmp_path)
