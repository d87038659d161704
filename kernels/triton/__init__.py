"""The kernels for CUDA, in Triton (Tillet et al., "Triton: an intermediate language and compiler for tiled neural network
computations", MAPL 2019), for Ampere and Hopper.

No result depends on what else is in a step. Sums are taken in an order that is a function of the operands' widths alone: K is
split by (N, K), the context of attention at fixed places, and partial sums are added in order by whoever has them. Nothing is
added atomically. Every kernel is launched with ``EXACT``, which keeps the compiler from contracting a * b + c as it sees fit in
one kernel and not in the other.

Triton's interpreter runs them all without a card, slowly, where TRITON_INTERPRET=1 is set before triton is imported.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

# Ampere: the first cards with tensor cores for bfloat16 and copies that run beside the arithmetic.
_LEAST_CAPABILITY = (8, 0)


@cache
def has_triton(device: torch.device) -> bool:
    """Whether a CUDA device can run these kernels: not if it is older than Ampere, nor where there is no Triton (Windows)."""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY
