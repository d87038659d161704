"""LoRA adapters made by peft with random weights, and models with them in transformers as the oracle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from fakes.real_model import next_logits
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from pennyweight.server.engines.adapters import AdapterDirectory
from pennyweight.server.types import Adapter

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def save_adapter(model_path: Path, path: Path, *, seed: int, scale: float = 0.05, **options: Any) -> None:
    """An adapter of the model, saved to ``path``. A and B are random, of standard deviation ``scale``, and so it changes answers."""
    given: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": list(ALL), "task_type": "CAUSAL_LM"} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), LoraConfig(**given))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        model.save_pretrained(path)


def describe(path: Path) -> Adapter:
    """The adapter in a directory, as requests carry it."""
    return AdapterDirectory(path.parent, max_rank=512).describe(path.name)


def load_adapted(model_path: Path, adapter: Path | None) -> PreTrainedModel | PeftModel:
    """The model in transformers, float32, with an adapter by peft."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
        return (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()


def choices(model: PreTrainedModel | PeftModel, prompt: list[int], output: list[int]) -> list[int]:
    """The most probable token at each place of ``output``: they equal it where it is the model's own greedy answer."""
    return next_logits(model, prompt, output).argmax(dim=-1).tolist()
