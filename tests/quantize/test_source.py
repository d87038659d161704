"""The model that is quantised: what is found in it, and which are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pennyweight.quantize.errors import QuantizeError
from pennyweight.quantize.source import read_source, sha256_of


def test_projections_are_found_with_their_shapes(tiny_model: Path) -> None:
    source = read_source(tiny_model)
    assert len(source.linears) == 2 * 7
    assert source.linears["model.layers.1.mlp.down_proj"] == (64, 96)
    assert source.linears["model.layers.0.self_attn.k_proj"] == (32, 64)
    assert source.layers == 2


def test_four_bits_take_about_an_eighth_of_float32(tiny_model: Path) -> None:
    source = read_source(tiny_model)
    saved = source.nbytes - source.quantised_nbytes(4)
    assert saved == pytest.approx(source.values * (4 - 0.55), rel=0.01)


def test_sums_are_of_whole_files(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"x" * (5 << 20))
    seen: list[int] = []
    assert sha256_of((file,), seen.append) == {"a.safetensors": hashlib.sha256(b"x" * (5 << 20)).hexdigest()}
    assert sum(seen) == 5 << 20


def test_what_is_no_model_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(QuantizeError, match=r"config\.json"):
        read_source(tmp_path)
    with pytest.raises(QuantizeError, match="GGUF"):
        read_source(tmp_path / "model.gguf")
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    (copy / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(QuantizeError, match="no safetensors file"):
        read_source(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(QuantizeError, match="no weights in safetensors"):
        read_source(copy)


def test_a_model_that_is_quantised_already_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(QuantizeError, match=r"already \(by awq\)"):
        read_source(copy)
