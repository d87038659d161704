"""Converting a GGUF file to a directory in Hugging Face format, in bfloat16. Imports neither torch nor transformers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .gguf import GGUFModel, config_of, generation_config_of, tokenizer_config_of
from .gguf_file import GGUFFile
from .gguf_tokenizer import tokenizer_of


def convert(source: Path, directory: Path, on_progress: Callable[[int, int], None]) -> None:
    """Write the model in ``source`` to ``directory``, which must exist; all files are on the disk when this returns.

    One tensor at a time is held in memory. ``on_progress(done, total)`` counts bytes written. Raises ModelError for a
    file that can't be read, OSError where the directory can't be written.
    """
    file = GGUFFile(source)
    _write_json(directory / "config.json", config_of(file))
    _write_json(directory / "generation_config.json", generation_config_of(file))
    _write_json(directory / "tokenizer_config.json", tokenizer_config_of(file))
    _write(directory / "tokenizer.json", [tokenizer_of(file).to_str().encode()])
    _write_weights(directory / "model.safetensors", GGUFModel(file), on_progress)


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of each finite value rounded to bfloat16, ties to even."""
    bits = values.view(np.uint32)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def _write_weights(path: Path, model: GGUFModel, on_progress: Callable[[int, int], None]) -> None:
    """The safetensors format: the header's length (8 bytes), the header as JSON padded to 8 bytes, the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for name in model.names:
        shape = model.shape(name)
        nbytes = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [total, total + nbytes]}
        total += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    done = 0
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in model.names:
            done += out.write(to_bfloat16(model.load(name)).astype("<u2").data)
            on_progress(done, total)
        _sync(out)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write(path, [json.dumps(value, indent=2, ensure_ascii=False).encode(), b"\n"])


def _write(path: Path, parts: list[bytes]) -> None:
    with path.open("wb") as out:
        out.writelines(parts)
        _sync(out)


def _sync(out: BufferedWriter) -> None:
    out.flush()
    os.fsync(out.fileno())
