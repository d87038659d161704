"""llama.cpp's server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.machine import usable_cores

from .base import output_of

# Keys and values are kept as float16 unless told otherwise.
CACHE_ITEM_BYTES = 2
# The server rounds each stream's part of the cache up to this many tokens.
CACHE_STEP_TOKENS = 256


@dataclass(frozen=True)
class LlamaCpp:
    """``llama-server`` with one GGUF file. ``cache_tokens`` are shared by ``streams`` requests at once."""

    binary: Path
    gguf: Path
    cache_tokens: int
    streams: int
    options: tuple[str, ...] = ()  # further ones of the command
    name: str = "llama.cpp"

    @property
    def variant(self) -> str:
        """What the file's name says of its weights, which is how these files are named: model-Q8_0.gguf."""
        return self.gguf.stem.replace(".", "-").rsplit("-", 1)[-1]

    @property
    def ready_path(self) -> str:
        return "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        serve = [str(self.binary), "--model", str(self.gguf), "--host", "127.0.0.1", "--port", str(port)]
        step = CACHE_STEP_TOKENS * self.streams
        cache = ["--ctx-size", str(self.cache_tokens // step * step), "--parallel", str(self.streams)]
        # Without the second cache, of prompts, that it would keep beside the KV cache of the agreed size.
        return [*serve, *cache, "--cache-ram", "0", "--threads", str(usable_cores()), *self.options]

    def version(self) -> str:
        return output_of([str(self.binary), "--version"])


def tokens_that_fit(model: Path, cache_bytes: int) -> int:
    """For how many tokens a KV cache of that size has room, by the config.json of a model directory."""
    config = json.loads((model / "config.json").read_bytes())
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    values = 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", heads) * width
    return int(cache_bytes // (values * CACHE_ITEM_BYTES))
