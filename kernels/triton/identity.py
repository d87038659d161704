"""Which kernels these are, for the fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path

import triton

from .attention import SPLIT, TILE
from .tiles import PART_STEP, PROGRAMS, SHORTEST_PART


def identity() -> dict[str, str]:
    """Triton's version, a digest of the kernels' source, and where their sums are cut."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return {
        "kernels": "triton",
        "triton": triton.__version__,
        "build": digest.hexdigest()[:16],
        "tiles": f"K in parts of {PART_STEP} to {SHORTEST_PART} for {PROGRAMS} programs, attention {TILE} in {SPLIT}",
    }
