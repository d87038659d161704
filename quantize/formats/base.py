"""What a format is, and what it reads from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear


class FormatError(ValueError):
    """A checkpoint's quantisation is not one that is read here, or its tensors are not what its configuration says."""


class Tensors(Protocol):
    """The tensors of an open checkpoint, by name."""

    def __contains__(self, name: str) -> bool: ...

    def load(self, name: str) -> Tensor:
        """A tensor on the CPU, as it is stored; only to be read."""
        ...


class Format(Protocol):
    """A way to keep quantised weights, with the options that one checkpoint's configuration gives it."""

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        """The tensors that hold the weights of a projection; none where it is not quantised."""
        ...

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        """The weights [rows, columns] of a projection that ``names`` has some for.

        Floats where their quantisation has no kernel here: they are then computed with as any others. Raises FormatError.
        """
        ...


# Makes a format of what config.json has under quantization_config. Raises FormatError for options that are not done.
MakeFormat = Callable[[Mapping[str, Any]], Format]


def expect(name: str, tensor: Tensor, *shape: int) -> Tensor:
    """The tensor, if it has the shape. Raises FormatError."""
    if tuple(tensor.shape) != shape:
        raise FormatError(f"tensor {name} is {list(tensor.shape)}, but the configuration says {list(shape)}")
    return tensor


def present(module: str, suffixes: Sequence[str], tensors: Tensors) -> list[str]:
    """The module's tensors with these suffixes that are there."""
    return [name for suffix in suffixes if (name := f"{module}.{suffix}") in tensors]
