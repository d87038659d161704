"""From hidden states to vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .sentence_head import Pooling

Vector = npt.NDArray[np.float32]

# A vector of zeros stays one (torch.nn.functional.normalize).
SMALLEST_NORM = 1e-12


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector [hidden] for each text: of hidden states [B, L, hidden], of which those count that ``mask`` [B, L] has."""
    if pooling is Pooling.CLS:
        return hidden[:, 0]
    weights = mask.to(hidden.dtype)
    return (hidden * weights[:, :, None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def finish(vector: Vector, *, dimensions: int | None, normalize: bool) -> Vector:
    """The first ``dimensions`` numbers of a vector (None: all), scaled to length 1 where the model does that."""
    cut = vector[:dimensions]
    if not normalize:
        return cut
    return cut / max(np.float32(np.linalg.norm(cut)), np.float32(SMALLEST_NORM))
