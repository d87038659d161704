"""config.json of well-known shapes: what a planner needs of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
MIXTRAL_8X7B = LLAMA_3_8B | {"vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
SMALL = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def write_config(directory: Path, config: dict[str, Any], name: str) -> Path:
    """A model's directory with nothing but its config.json."""
    (directory / name).mkdir(exist_ok=True)
    (directory / name / "config.json").write_text(json.dumps(config))
    return directory / name
