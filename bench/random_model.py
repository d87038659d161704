"""Models of a known shape with random weights: what decoding costs depends on the shape alone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHARD_BYTES = 4 * 1024**3
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# Weights are cut from a pool of random numbers of this odd size, from another place each time.
POOL_SIZE = (1 << 23) + 9


@dataclass(frozen=True)
class Shape:
    """The sizes of a model of the Llama family with an untied head, in bfloat16."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context: int
    rope_theta: float = 500000.0
    rope_scaling: tuple[tuple[str, Any], ...] | None = None

    def config(self) -> dict[str, Any]:
        """What config.json says of it."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": self.rope_theta,
            "rope_scaling": None if self.rope_scaling is None else dict(self.rope_scaling),
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "torch_dtype": "bfloat16",
            "bos_token_id": 1,
            "eos_token_id": 2,
        }

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every tensor's name and shape."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        for layer in range(self.num_layers):
            prefix = f"model.layers.{layer}"
            yield f"{prefix}.input_layernorm.weight", (hidden,)
            yield f"{prefix}.self_attn.q_proj.weight", (queries, hidden)
            yield f"{prefix}.self_attn.k_proj.weight", (keys, hidden)
            yield f"{prefix}.self_attn.v_proj.weight", (keys, hidden)
            yield f"{prefix}.self_attn.o_proj.weight", (hidden, queries)
            yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
            yield f"{prefix}.mlp.gate_proj.weight", (inner, hidden)
            yield f"{prefix}.mlp.up_proj.weight", (inner, hidden)
            yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
        yield "model.norm.weight", (hidden,)
        yield "lm_head.weight", (self.vocab_size, hidden)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for _, shape in self.tensors())

    @property
    def parameters_per_step(self) -> int:
        """Weights that every decode step reads: all but the token table, of which it reads a row for each sequence."""
        return self.parameters - self.vocab_size * self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token of context, in bfloat16."""
        return 2 * 2 * self.num_layers * self.num_kv_heads * self.head_dim


LLAMA3_SCALING = (
    ("rope_type", "llama3"),
    ("factor", 8.0),
    ("low_freq_factor", 1.0),
    ("high_freq_factor", 4.0),
    ("original_max_position_embeddings", 8192),
)
SHAPES = {
    "llama-3.1-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, 131072, rope_scaling=LLAMA3_SCALING),
    # Small enough for any machine; its vocabulary is larger than the tokenizer's too.
    "tiny": Shape(256, 512, 2, 4, 2, 64, 49408, 2048),
}


def write_model(shape: Shape, directory: Path, tokenizer: Path) -> None:
    """A model directory with random weights, written tensor by tensor, and the tokenizer of another model.

    Leaves a directory alone that has the same model already: config.json is written last.
    """
    config = json.dumps(shape.config(), indent=2)
    if (directory / "config.json").is_file() and (directory / "config.json").read_text() == config:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").unlink(missing_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, directory / name)
    generator = np.random.default_rng(0)
    # The upper half of a float32 is a bfloat16.
    pool = (generator.standard_normal(POOL_SIZE, dtype=np.float32) * 0.02).view(np.uint32) >> 16
    weights = np.concatenate([pool, pool]).astype("<u2")
    shards = list(_shards(shape))
    places = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places.update(dict.fromkeys((name for name, _ in shard), file_name))
        _write_shard(directory / file_name, shard, weights, generator)
    index = {"metadata": {"total_size": 2 * shape.parameters}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(config)


def _shards(shape: Shape) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    shard: list[tuple[str, tuple[int, ...]]] = []
    size = 0
    for name, sizes in shape.tensors():
        num_bytes = 2 * math.prod(sizes)
        if shard and size + num_bytes > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, sizes))
        size += num_bytes
    yield shard


def _write_shard(
    path: Path, shard: list[tuple[str, tuple[int, ...]]], pool: np.ndarray[Any, Any], generator: np.random.Generator
) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, sizes in shard:
        start, end = end, end + 2 * math.prod(sizes)
        header[name] = {"dtype": "BF16", "shape": list(sizes), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, sizes in shard:
            left = math.prod(sizes)
            if len(sizes) == 1:  # a norm: all ones
                file.write(np.full(left, 0x3F80, dtype="<u2").tobytes())
                continue
            while left:
                start = int(generator.integers(POOL_SIZE))
                count = min(left, POOL_SIZE)
                file.write(pool[start : start + count].tobytes())
                left -= count
