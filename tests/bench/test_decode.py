"""The decode benchmark's model and arithmetic; the whole of it runs by ``--shape tiny`` on any machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors import safe_open

from pennyweight.bench import random_model
from pennyweight.bench.bandwidth import Bandwidth
from pennyweight.bench.decode import Lengths, summarise
from pennyweight.bench.random_model import SHAPES, write_model
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.native.model_runner import ModelRunner


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    for name in random_model.TOKENIZER_FILES:
        (directory / name).write_text("{}")
    return directory


def test_the_shape_is_that_of_llama_3_1_8b() -> None:
    assert SHAPES["llama-3.1-8b"].parameters == 8_030_261_248
    assert SHAPES["llama-3.1-8b"].kv_bytes_per_token == 128 * 1024


def test_the_engine_loads_what_was_written(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_model, "SHARD_BYTES", 20 << 20)
    path = tmp_path / "model"
    write_model(SHAPES["tiny"], path, tokenizer)
    files = sorted(path.glob("*.safetensors"))
    assert len(files) == 3
    with safe_open(files[0], framework="pt") as file:
        table = file.get_tensor("model.embed_tokens.weight").float()
    assert abs(table.mean()) < 1e-3
    assert table.std() == pytest.approx(0.02, rel=0.05)
    settings = EngineSettings(device="cpu", threads=1, kv_cache_memory=1 << 20)
    assert ModelRunner(path, settings, on_progress=lambda done, total: None).vocab_size == SHAPES["tiny"].vocab_size


def test_a_model_that_is_there_is_not_written_again(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "model"
    write_model(SHAPES["tiny"], path, tokenizer)
    (shard,) = path.glob("*.safetensors")
    os.utime(shard, (1, 1))
    write_model(SHAPES["tiny"], path, tokenizer)
    assert shard.stat().st_mtime == 1
    (path / "config.json").write_text("{}")  # another model, or one that was cut off
    write_model(SHAPES["tiny"], path, tokenizer)
    assert shard.stat().st_mtime > 1


def test_the_share_of_bandwidth_counts_weights_and_contexts() -> None:
    shape, peak = SHAPES["llama-3.1-8b"], Bandwidth("card", 3.35e12, "the data sheet")
    lengths = Lengths(prompt=128, short=32, long=160)
    one = summarise(shape, "bfloat16", lengths, 1, [0.02, 0.005, 0.006], peak)
    assert one.step_seconds == 0.006
    assert one.bytes_per_step == 2 * (8_030_261_248 - 128256 * 4096) + 224 * 131072
    assert one.mbu == pytest.approx(one.bytes_per_step / 0.006 / 3.35e12)
    many = summarise(shape, "bfloat16", lengths, 256, [0.006], peak)
    assert many.bytes_per_step - one.bytes_per_step == 255 * 224 * 131072
    assert many.tokens_per_second == pytest.approx(256 / 0.006)
    assert summarise(shape, "bfloat16", lengths, 1, [0.006], Bandwidth("new", None, "")).mbu is None
