"""Models with random weights that speak the default model's tokens, for servers that need more than one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

# What the default model's tokenizer and template are in; the last is there for some versions of transformers only.
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def save_random_model(
    path: Path,
    kind: type[PreTrainedModel],
    config: type[PretrainedConfig],
    default_model: Path,
    *,
    seed: int,
    **sizes: Any,
) -> None:
    """Write a model of a kind to ``path``, in bfloat16, with the tokenizer of the default model."""
    torch.manual_seed(seed)
    tokens = {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    kind(config(tie_word_embeddings=True, **tokens, **sizes)).to(torch.bfloat16).save_pretrained(path)
    for name in TEXT_FILES:
        if (default_model / name).exists():
            shutil.copy(default_model / name, path / name)
