"""Reading GGUF, the file format of llama.cpp: a header of metadata and a directory of memory-mapped tensors.

Format: version 2 and 3 of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, little-endian. The ``gguf`` package
has a reader too, but it makes several arrays per string of metadata: 1.6 s for a vocabulary of 49,152 where this takes a
twentieth of that. Its tables and its dequantisation are used here.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from pennyweight.server.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
QUANT_TYPES = frozenset({"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"})

# Metadata value types, by their number in the file.
_SCALARS = MappingProxyType({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"})
_STRING = 8
_ARRAY = 9


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where a tensor lies. ``shape`` is outermost dimension first, as torch has it; ``offset`` counts from the file's start."""

    name: str
    shape: tuple[int, ...]
    quant_type: GGMLQuantizationType
    offset: int
    nbytes: int


class GGUFFile:
    """An open GGUF file: ``metadata`` by key and ``tensors`` by name, both read at once; tensor data on demand.

    The file is mapped, or read and held in memory. Raises ModelError for a file that is missing, not GGUF, truncated, or one part of several.
    """

    def __init__(self, path: Path, *, hold: bool = False) -> None:
        self.path = path
        self._data: mmap.mmap | bytes
        try:
            with path.open("rb") as file:
                self._data = file.read() if hold else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file can't be mapped
            raise ModelError(f"{path} can't be read: {error}") from error
        try:
            reader = _HeaderReader(self._data)
            self.metadata, self.tensors = reader.read()
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise ModelError(f"{path} is not a whole GGUF file: {error}") from error
        if self.metadata.get("split.count", 0) > 1:
            raise ModelError(f"{path} is one of several parts; join them with llama-gguf-split --merge")
        for tensor in self.tensors.values():
            if tensor.offset + tensor.nbytes > len(self._data):
                raise ModelError(f"{path} is truncated: tensor {tensor.name} goes past its end; download it again")

    @property
    def data_start(self) -> int:
        """Bytes before the first tensor's data."""
        return min((tensor.offset for tensor in self.tensors.values()), default=len(self._data))

    def close(self) -> None:
        """End the mapping, or leave that to the last array that still views it."""
        if isinstance(self._data, mmap.mmap):
            with contextlib.suppress(BufferError):
                self._data.close()

    def dequantize(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor's values as float32. Raises ModelError for a quantisation that is not done, naming it."""
        tensor = self.tensors[name]
        quant_type = tensor.quant_type
        if quant_type.name not in QUANT_TYPES:
            raise ModelError(
                f"{self.path} holds {name} as {quant_type.name}; the native engine reads {', '.join(sorted(QUANT_TYPES))}. "
                "Take a file of one of these types, or serve this one with llama.cpp"
            )
        return dequantize(self.raw(name), quant_type).reshape(tensor.shape)

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes, its innermost dimension's as they are stored: a view, only to be read."""
        tensor = self.tensors[name]
        whole = np.frombuffer(self._data, dtype=np.uint8, count=tensor.nbytes, offset=tensor.offset)
        return whole.reshape(*tensor.shape[:-1], -1)


class _HeaderReader:
    """A cursor over the file's start. Raises struct.error or ValueError where the bytes are no header."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._offset = 0

    def read(self) -> tuple[dict[str, Any], dict[str, GGUFTensor]]:
        if self._bytes(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin with the bytes GGUF")
        version = self._scalar("I")
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}, and {VERSIONS} can be read")
        num_tensors, num_values = self._scalar("Q"), self._scalar("Q")
        metadata = {}
        for _ in range(num_values):
            key = self._string()
            metadata[key] = self._value(self._scalar("I"))
        infos = [self._tensor_info() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise ValueError(f"its alignment is {alignment}")
        start = -(-self._offset // alignment) * alignment
        tensors = {name: _place(name, shape, number, start + offset) for name, shape, number, offset in infos}
        if len(tensors) != num_tensors:
            raise ValueError("two tensors have the same name")
        return metadata, tensors

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        num_dimensions = self._scalar("I")
        if num_dimensions > MAX_DIMENSIONS:
            raise ValueError(f"tensor {name} has {num_dimensions} dimensions")
        shape = tuple(self._scalar("Q") for _ in range(num_dimensions))
        return name, shape[::-1], self._scalar("I"), self._scalar("Q")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._scalar("I"), self._scalar("Q"))
        return self._scalar(_scalar_code(kind))

    def _array(self, kind: int, length: int) -> list[Any]:
        if kind == _STRING:
            return [self._string() for _ in range(length)]
        code = _scalar_code(kind)
        if length * struct.calcsize(code) > len(self._data) - self._offset:
            raise ValueError("an array goes past the end of the file")
        values = struct.unpack_from(f"<{length}{code}", self._data, self._offset)
        self._offset += length * struct.calcsize(code)
        return list(values)

    def _scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._data, self._offset)
        self._offset += struct.calcsize("<" + code)
        return value

    def _string(self) -> str:
        return self._bytes(self._scalar("Q")).decode()

    def _bytes(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._data):
            raise ValueError("a string goes past the end of the file")
        value = self._data[self._offset : end]
        self._offset = end
        return value


def _scalar_code(kind: int) -> str:
    code = _SCALARS.get(kind)
    if code is None:
        raise ValueError(f"metadata of type {kind} is unknown")
    return code


def _place(name: str, shape: tuple[int, ...], number: int, offset: int) -> GGUFTensor:
    quant_type = GGMLQuantizationType(number)
    block_size, block_bytes = GGML_QUANT_SIZES[quant_type]
    if not shape or shape[-1] % block_size:
        raise ValueError(f"the rows of tensor {name} are not whole blocks of {quant_type.name}")
    return GGUFTensor(name, shape, quant_type, offset, math.prod(shape) // block_size * block_bytes)
