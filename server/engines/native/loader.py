"""Reading a model's weights from disk: memory-mapped and one tensor at a time, so that the peak is what is kept plus one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pennyweight.quantize.formats.base import Format
from pennyweight.server.engines.local.files_digest import files_digest
from pennyweight.server.engines.local.gguf import GGUFModel
from pennyweight.server.engines.local.gguf_file import GGUFFile
from pennyweight.server.errors import ModelError

from .gguf_format import GGUFBlocks

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth")


class Weights(Protocol):
    """An open checkpoint: tensors under their Hugging Face names. A context manager that closes it."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as ``load`` gives them."""
        ...

    def names(self) -> Iterable[str]: ...

    def __contains__(self, name: str) -> bool: ...

    def load(self, name: str) -> Tensor:
        """A tensor on the CPU, in its stored dtype (float32 for what was quantised); it may be mapped: only to be read.

        Raises KeyError for a name that isn't there, ModelError where the tensor is of a kind that can't be read.
        """
        ...

    def own_format(self) -> Format | None:
        """How the file itself keeps quantised projections, where ``load`` would give floats; None for files that don't."""
        ...

    def hash(self) -> str:
        """A hexadecimal digest of every byte of the files (see ``files_digest``); they are read once more for it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


def open_weights(path: Path) -> Weights:
    """The weights in a model directory (``model.safetensors``, whole or in shards) or a .gguf file.

    Raises ModelError where there are none, or they are incomplete, damaged or in another format.
    """
    if path.suffix == ".gguf":
        return _GGUFWeights(GGUFFile(path))
    if (path / SINGLE_FILE).exists():
        return _SafetensorsWeights([_SafetensorsFile(path / SINGLE_FILE)])
    if (path / INDEX_FILE).exists():
        return _open_shards(path / INDEX_FILE)
    raise ModelError(f"{path} has no weights in a format that can be loaded{_what_instead(path)}")


def hold_weights(path: Path) -> Weights:
    """The same, read into memory once and kept there, closing or not, as long as the object lives."""
    if path.suffix == ".gguf":
        return _GGUFWeights(GGUFFile(path, hold=True))
    with open_weights(path) as weights:
        return _HeldWeights({name: weights.load(name).clone() for name in weights.names()}, weights.hash())


def open_safetensors(file: Path) -> Weights:
    """The tensors of one safetensors file. Raises ModelError where it is damaged."""
    return _SafetensorsWeights([_SafetensorsFile(file)])


def _open_shards(index: Path) -> Weights:
    try:
        places: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        shards = sorted(set(places.values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} can't be read as an index of weights: {error!r}") from error
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise ModelError(
            f"{index.parent} lacks {len(missing)} of {len(shards)} files of weights, first {missing[0]}; download it again"
        )
    weights = _SafetensorsWeights([_SafetensorsFile(index.parent / shard) for shard in shards])
    if absent := [name for name in places if name not in weights]:
        raise ModelError(f"{index} names tensors that its files don't have, first {absent[0]}; download it again")
    return weights


def _what_instead(path: Path) -> str:
    if files := sorted(path.glob("*.gguf")):
        return f"; to serve a file in it, name the file: {files[0]}"
    if any(file for pattern in PICKLED for file in path.glob(pattern)):
        return (
            ": only pickled ones, which may run code when they are read. Convert them to safetensors "
            "(transformers: from_pretrained, then save_pretrained)"
        )
    return f" ({SINGLE_FILE}, {INDEX_FILE}); is the download complete?"


class _SafetensorsFile:
    """One file's header, checked against the file's size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                self.header_bytes = 8 + int.from_bytes(file.read(8), "little")
                if self.header_bytes > size:
                    raise ModelError(f"{path} is truncated or no safetensors file; download it again")
                header = json.loads(file.read(self.header_bytes - 8))
            header.pop("__metadata__", None)
            self.sizes = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()}
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} can't be read as safetensors: {error!r}") from error
        if self.header_bytes + end != size:
            raise ModelError(
                f"{path} has {size} bytes where its header says {self.header_bytes + end}; download it again"
            )


class _SafetensorsWeights:
    def __init__(self, files: list[_SafetensorsFile]) -> None:
        self._files = files
        self._places = {name: file.path for file in files for name in file.sizes}

    @property
    def nbytes(self) -> int:
        return sum(sum(file.sizes.values()) for file in self._files)

    def names(self) -> Iterable[str]:
        return self._places.keys()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def load(self, name: str) -> Tensor:
        path = self._places[name]
        try:
            # Opened for each tensor: the mapping then ends with the tensor, and what was read leaves resident memory.
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"tensor {name} can't be read from {path}: {error}") from error
        return tensor

    def own_format(self) -> None:
        return None

    def hash(self) -> str:
        return files_digest([file.path for file in self._files])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._files, self._places = [], {}


class _HeldWeights:
    def __init__(self, tensors: Mapping[str, Tensor], digest: str) -> None:
        self._tensors = tensors
        self._digest = digest

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def load(self, name: str) -> Tensor:
        return self._tensors[name]

    def own_format(self) -> None:
        return None

    def hash(self) -> str:
        return self._digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class _GGUFWeights:
    def __init__(self, file: GGUFFile) -> None:
        self._model: GGUFModel = GGUFModel(file)

    @property
    def nbytes(self) -> int:
        return sum(4 * math.prod(self._model.shape(name)) for name in self._model.names)

    def names(self) -> Iterable[str]:
        return self._model.names.keys()

    def __contains__(self, name: str) -> bool:
        return name in self._model.names

    def load(self, name: str) -> Tensor:
        values = self._model.load(name)
        # What was stored as float32 is a view of the read-only mapping, which torch does not take.
        return torch.from_numpy(values if values.flags.writeable else np.array(values))

    def own_format(self) -> Format:
        return GGUFBlocks(self._model)

    def hash(self) -> str:
        return files_digest([self._model.file.path])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._model.file.close()
