"""Tiny models of each family with random weights, and an engine's core to run them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.messages import Logprobs, Submit
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.engines.native.model_runner import ModelRunner
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Adapter, Constraint

# No multiple of anything that a kernel's tiles are wide.
VOCAB_SIZE = 251
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": False}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "llama-3": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3_ROPE}),
    "llama-biases": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None, "head_dim": 32}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32}),
    "qwen3-tied": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32, "tie_word_embeddings": True}),
}


def save_tiny_model(path: Path, kind: str) -> PreTrainedModel:
    """A model of ``kind`` in float32, saved to ``path`` as safetensors."""
    config_class, model_class, special = FAMILIES[kind]
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model: PreTrainedModel = model_class(config_class(**(sizes | special))).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms about 1 and everything else wide enough that a wrong or missing tensor shows in the logits.
            torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.15)
    model.save_pretrained(path)
    return model


class NoGrammars:
    def compile(self, constraint: Constraint) -> Any:
        raise InvalidRequest("no grammars here", param=constraint.param)


def make_core(path: Path, **changes: Any) -> NativeEngineCore:
    options = {
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 32,
        "kv_cache_memory": 4 << 20,
    }
    settings = EngineSettings(**(options | changes))
    return NativeEngineCore(ModelRunner(path, settings, on_progress=lambda done, total: None), NoGrammars(), settings)


@dataclass
class Answer:
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[Logprobs] = field(default_factory=list)
    prompt_logprobs: list[Logprobs] = field(default_factory=list)
    error: str | None = None
    logits_hashes: bytes = b""


def submit(
    core: NativeEngineCore,
    name: str,
    prompt: Iterable[int],
    max_tokens: int,
    seed: int = 0,
    adapter: Adapter | None = None,
    hash_logits: bool = False,
    **choice: Any,
) -> None:
    core.submit(
        Submit(
            request_id=name,
            prompt=np.array(list(prompt), dtype="<i4").tobytes(),
            choice=TokenChoice(**choice),
            seeds=(seed,),
            max_tokens=max_tokens,
            priority=0,
            arrival=0.0,
            adapter=adapter,
            salt=b"" if adapter is None else bytes.fromhex(adapter.digest),
            hash_logits=hash_logits,
        )
    )


def step(core: NativeEngineCore, answers: dict[str, Answer]) -> None:
    """One step, its progress added to ``answers``."""
    for progress in core.step():
        answer = answers.setdefault(progress.request_id, Answer())
        answer.token_ids += progress.token_ids
        answer.logprobs += progress.logprobs
        answer.prompt_logprobs += progress.prompt_logprobs
        answer.logits_hashes += progress.logits_hashes
        answer.error = answer.error or progress.error
    core.check_integrity()


def run(core: NativeEngineCore, answers: dict[str, Answer] | None = None) -> dict[str, Answer]:
    """Steps until nothing is left to do."""
    found = {} if answers is None else answers
    for _ in range(2000):
        while core.is_preparing:
            time.sleep(0.001)
            step(core, found)
        if not core.has_work:
            return found
        step(core, found)
    raise AssertionError("still working after 2000 steps")


def random_prompt(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, VOCAB_SIZE, length).tolist()


def dense(logprobs: list[Logprobs]) -> torch.Tensor:
    """Logprobs of the whole vocabulary, [positions, VOCAB_SIZE]; all alternatives must have been asked for."""
    table = torch.full((len(logprobs), VOCAB_SIZE), torch.nan)
    for position, one in enumerate(logprobs):
        table[position, one.top_ids] = torch.tensor(one.top_logprobs)
    return table
