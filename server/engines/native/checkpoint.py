"""A checkpoint while it is being read: each tensor once, of the shape that the family expects, quantised or not."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear
from pennyweight.quantize.formats.base import Format, FormatError
from pennyweight.quantize.formats.registry import checkpoint_format
from pennyweight.server.errors import ModelError

from .loader import Weights
from .model_config import ModelConfig

# Tables that old checkpoints carry and that follow from the configuration.
DERIVED_SUFFIXES = (".rotary_emb.inv_freq", ".attn.bias", ".masked_bias")


class Checkpoint:
    """Takes tensors out of ``weights`` by name, checks them, and counts the bytes for ``on_progress(done, total)``.

    ``quantised`` is the format of the projections that are quantised, None where none is.
    """

    def __init__(
        self, weights: Weights, on_progress: Callable[[int, int], None], quantised: Format | None = None
    ) -> None:
        self._weights = weights
        self._quantised = quantised
        self._on_progress = on_progress
        self._untaken = {name for name in weights.names() if not name.endswith(DERIVED_SUFFIXES)}
        self._done = 0

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of the given shape. Raises ModelError where it is missing or of another shape."""
        if name not in self._weights:
            raise ModelError(f"the checkpoint has no tensor {name}")
        tensor = self._weights.load(name)
        if tensor.shape != shape:
            raise ModelError(f"tensor {name} is {list(tensor.shape)}, but the configuration says {list(shape)}")
        self._count(name, tensor.nbytes)
        return tensor

    def is_quantised(self, module: str) -> bool:
        """Whether ``take_linear`` gives quantised weights, or what they stand for."""
        return self._quantised is not None and bool(self._quantised.names(module, self._weights))

    def take_linear(self, module: str, rows: int, columns: int) -> Tensor | QuantisedLinear:
        """The weights [rows, columns] of a projection. Raises ModelError where they are missing or not as they should be."""
        names = self._quantised.names(module, self._weights) if self._quantised else ()
        if self._quantised is None or not names:
            return self.take(f"{module}.weight", rows, columns)
        try:
            weight = self._quantised.read(module, rows, columns, self._weights)
        except (ValueError, KeyError) as error:
            raise ModelError(f"the quantised weights of {module} can't be read: {error}") from error
        for name in names:
            self._count(name, self._weights.load(name).nbytes)
        return weight

    def skip(self, name: str) -> None:
        """Leave a tensor unread, if it is there."""
        self._untaken.discard(name)

    def close(self) -> None:
        """Raise ModelError where a tensor was left over: its part of the model would silently not be computed."""
        if self._untaken:
            left = sorted(self._untaken)
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise ModelError(
                f"the checkpoint has tensors that its configuration does not account for: {', '.join(left[:3])}{more}"
            )
        self._on_progress(self._weights.nbytes, self._weights.nbytes)

    def _count(self, name: str, nbytes: int) -> None:
        self._untaken.discard(name)
        self._done += nbytes
        self._on_progress(min(self._done, self._weights.nbytes), self._weights.nbytes)


def read_format(config: ModelConfig) -> Format | None:
    """How a model's checkpoint keeps its quantised weights, if it has any. Raises ModelError for what isn't done."""
    if config.quantization is None:
        return None
    try:
        return checkpoint_format(config.quantization)
    except FormatError as error:
        raise ModelError(f"{error}; the engines vllm and tensorrt_llm may take it") from error
