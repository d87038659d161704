"""The two models of an evaluation: how the process that computes with one is started, and what is told of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.quantize.quality.protocol import Loaded
from pennyweight.quantize.quality.scored_model import ScoredModel

# Longer than any question or prompt that ships; KV cache is taken for it.
MAX_MODEL_LEN = 2048
ANSWERS_AT_ONCE = 16
LIBRARIES = ("torch", "triton")


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A model in one of the ways in which it can be served, by the names of the server's settings."""

    model: str
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"


class Computing(msgspec.Struct, frozen=True, kw_only=True):
    """How both models compute: ``device`` as the server has it; ``threads`` of each on a CPU, for both work at once."""

    device: str
    threads: int
    window: int


def start(variant: Variant, computing: Computing) -> ScoredModel:
    """Start the native engine's scoring process, which loads the model meanwhile. Raises ModelFailed."""
    settings = {
        **msgspec.to_builtins(variant),
        "device": computing.device,
        "threads": computing.threads,
        "max_model_len": max(MAX_MODEL_LEN, computing.window),
        "max_num_seqs": ANSWERS_AT_ONCE,
        # Each answer is then computed as if nothing had been before it.
        "enable_prefix_caching": False,
    }
    module = "pennyweight.server.engines.native.score"
    return ScoredModel([sys.executable, "-m", module, json.dumps(settings)])


def numerics(loaded: Loaded) -> dict[str, str]:
    """What its numbers depend on, beside the weights."""
    return {"weights": loaded.fingerprint["weights"], **loaded.details}


def described(loaded: Loaded) -> Mapping[str, Any]:
    """For the result."""
    return {
        "model": loaded.path,
        **numerics(loaded),
        "disk_bytes": loaded.disk_bytes,
        "weight_bytes": loaded.weight_bytes,
        "resident_bytes": loaded.resident_bytes,
    }


def versions(loaded: Loaded) -> dict[str, str]:
    """Of the libraries that computed, where the kernels' fingerprint tells."""
    return {name: loaded.fingerprint[name] for name in LIBRARIES if name in loaded.fingerprint}
