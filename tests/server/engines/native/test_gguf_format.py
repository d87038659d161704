"""GGUF's blocks of Q4_0 and Q8_0, kept as they are: the same weights as those that are dequantised when they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.tiny_gguf import random_blocks, write_gguf
from gguf import GGMLQuantizationType

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.loader import hold_weights, open_weights
from pennyweight.server.errors import ModelError

NAME = "blk.0.attn_q.weight"
MODULE = "model.layers.0.self_attn.q_proj"
METADATA = {"llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}


def write(path: Path, quant_type: str) -> Path:
    kind = GGMLQuantizationType[quant_type]
    raw = random_blocks(kind, (16, 256), np.random.default_rng(0))
    write_gguf(path, "llama", METADATA, {NAME: raw}, {NAME: kind})
    return path


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("quant_type", "scheme"), [("Q4_0", Scheme.W4A16), ("Q8_0", Scheme.W8A16)])
def test_blocks_are_the_weights_that_they_stand_for(
    quant_type: str, scheme: Scheme, held: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.gguf", quant_type)
    with hold_weights(path) if held else open_weights(path) as weights:
        checkpoint = Checkpoint(weights, lambda done, total: None, weights.own_format())
        assert checkpoint.is_quantised(MODULE)
        kept = checkpoint.take_linear(MODULE, 16, 256)
        checkpoint.close()
        assert isinstance(kept, QuantisedLinear)
        assert (kept.scheme, kept.group_size) == (scheme, 32)
        assert torch.equal(kept.dequantised(), weights.load(f"{MODULE}.weight"))


@pytest.mark.parametrize("quant_type", ["Q4_1", "Q4_K"])
def test_other_blocks_are_taken_as_floats(quant_type: str, tmp_path: Path) -> None:
    with open_weights(write(tmp_path / "model.gguf", quant_type)) as weights:
        checkpoint = Checkpoint(weights, lambda done, total: None, weights.own_format())
        assert not checkpoint.is_quantised(MODULE)
        assert torch.is_tensor(checkpoint.take_linear(MODULE, 16, 256))


def test_blocks_of_another_size_are_told(tmp_path: Path) -> None:
    with open_weights(write(tmp_path / "model.gguf", "Q8_0")) as weights:
        checkpoint = Checkpoint(weights, lambda done, total: None, weights.own_format())
        with pytest.raises(ModelError, match=r"q_proj.*\[16, 256\].*\[8, 256\]"):
            checkpoint.take_linear(MODULE, 8, 256)
