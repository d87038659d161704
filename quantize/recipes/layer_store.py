"""Layers that are done, on disk, so that a run which is stopped loses no more than the one it was at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor


class LayerStore:
    """One file of tensors for each layer in ``directory``, which must exist; the tensors are named as in the model."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = sorted(directory.glob("*.safetensors"))

    def __len__(self) -> int:
        return len(self._files)

    def load(self) -> dict[str, Tensor]:
        """The tensors of all layers, on the CPU."""
        return {name: tensor for file in self._files for name, tensor in load_file(file).items()}

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep one more layer, whole or not at all."""
        file = self._directory / f"{len(self._files):05}.safetensors"
        temporary = file.with_suffix(".tmp")
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)
        temporary.replace(file)
        self._files.append(file)
