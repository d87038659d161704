"""A checkpoint while it is being read: each tensor once, of the shape that the family expects."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pennyweight.server.errors import ModelError

from .loader import Weights

# Tables that old checkpoints carry and that follow from the configuration.
DERIVED_SUFFIXES = (".rotary_emb.inv_freq", ".attn.bias", ".masked_bias")


class Checkpoint:
    """Takes tensors out of ``weights`` by name, checks them, and counts the bytes for ``on_progress(done, total)``."""

    def __init__(self, weights: Weights, on_progress: Callable[[int, int], None]) -> None:
        self._weights = weights
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
        self._untaken.discard(name)
        self._done += tensor.nbytes
        self._on_progress(min(self._done, self._weights.nbytes), self._weights.nbytes)
        return tensor

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
