"""The model that is to be quantised: a directory in Hugging Face format with weights in 16 or 32 bits."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import QuantizeError

# Beside the weights and the configuration, what goes along unchanged. Templates may be several, in a folder.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)
WIDTHS: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk. ``linears`` has [rows, columns] of each projection in its layers, ``weights`` the files that hold them."""

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    linears: Mapping[str, tuple[int, int]]

    @property
    def nbytes(self) -> int:
        """Of the weights on disk."""
        return sum(file.stat().st_size for file in self.weights)

    @property
    def layers(self) -> int:
        """Decoder layers, by the configuration; 0 where it doesn't say."""
        return int(self.config.get("num_hidden_layers") or 0)

    @property
    def values(self) -> int:
        """Weights of all projections."""
        return sum(rows * columns for rows, columns in self.linears.values())

    def quantised_nbytes(self, bits: int) -> int:
        """About what the weights take with ``bits`` for each value of a projection; a tenth more for scales."""
        each = WIDTHS[_dtype(self.config)]
        return self.nbytes - self.values * each + math.ceil(self.values * bits / 8 * 1.1)


def read_source(path: Path) -> Source:
    """Raises QuantizeError where the path is no such model, or is one whose weights are quantised already."""
    if path.suffix == ".gguf":
        raise QuantizeError(
            f"{path} is a GGUF file, whose weights are quantised already; name the model that it was made of"
        )
    try:
        config = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise QuantizeError(f"{path} is no model directory: its config.json can't be read ({error})") from None
    if not isinstance(config, dict):
        raise QuantizeError(f"{path / 'config.json'} is no JSON object")
    if found := config.get("quantization_config") or config.get("compression_config"):
        method = found.get("quant_method") if isinstance(found, dict) else None
        raise QuantizeError(f"{path} is quantised already (by {method}); name the model that it was made of")
    weights = tuple(sorted(path.glob("*.safetensors")))
    if not weights:
        raise QuantizeError(f"{path} has no weights in safetensors")
    linears = {name: shape for file in weights for name, shape in _linears(file).items()}
    if not linears:
        raise QuantizeError(f"{path} has no projections in layers that could be quantised")
    return Source(path, config, weights, linears)


def sha256_of(files: tuple[Path, ...], on_progress: Callable[[int], None] = lambda num_bytes: None) -> dict[str, str]:
    """By file name. ``on_progress`` is told the bytes of each piece that was read."""
    found = {}
    for file in files:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while piece := stream.read(1 << 22):
                digest.update(piece)
                on_progress(len(piece))
        found[file.name] = digest.hexdigest()
    return found


def _dtype(config: Mapping[str, Any]) -> str:
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return {"bfloat16": "BF16", "float16": "F16", "float64": "F64"}.get(named, "F32")


def _linears(file: Path) -> dict[str, tuple[int, int]]:
    """Two-dimensional weights in layers, from the file's header: its length in 8 bytes, then JSON by tensor."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
    except (OSError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise QuantizeError(f"{file} is no safetensors file ({error})") from None
    return {
        name.removesuffix(".weight"): (tensor["shape"][0], tensor["shape"][1])
        for name, tensor in header.items()
        if name.endswith(".weight") and ".layers." in name and len(tensor["shape"]) == 2
    }
