"""Weights that failed their quality gate, and the real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.random_models import save_random_model
from fakes.server_process import server_process
from transformers import LlamaConfig, LlamaForCausalLM

from pennyweight.quantize.manifest import FILE, record_scores
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.quality_gate import check_gate
from pennyweight.server.errors import ModelError

REASON = "top-1 agreement is 71.00%, at least 97.00% was asked for"


@pytest.fixture(scope="module")
def sound(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without a manifest."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    save_random_model(path, LlamaForCausalLM, LlamaConfig, default_model, seed=0, max_position_embeddings=256, **sizes)
    return path


@pytest.fixture
def failed(sound: Path, tmp_path: Path) -> Path:
    """The same, with a manifest that says that it failed."""
    path = tmp_path / "tiny-failed"
    shutil.copytree(sound, path)
    record_scores(path, {"verdict": "failed", "reasons": [REASON]})
    return path


def refused(*arguments: str) -> str:
    """What ``pennyweight serve`` says as it ends with an error."""
    command = [sys.executable, "-m", "pennyweight.server.cli", "serve", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"COLUMNS": "200"})
    assert ran.returncode == 1
    return ran.stderr


async def fingerprint(model: Path, **engine: object) -> str:
    async with server_process(engine={"model": str(model), "served_model_name": ["tiny"], **engine}) as server:
        body = {"model": "tiny", "prompt": "Hi", "max_tokens": 2}
        async with server.client.post("/v1/completions", json=body) as answer:
            found = await answer.json()
    return str(found["system_fingerprint"])


def test_a_model_that_failed_is_refused_with_the_reason_and_the_way_out(failed: Path) -> None:
    error = refused(str(failed), "--port", "0")
    assert REASON in error
    assert "--allow-failed-gate" in error
    assert "Traceback" not in error


def test_one_of_several_models_is_refused_at_the_start_although_it_would_be_loaded_later(
    failed: Path, sound: Path, tmp_path: Path
) -> None:
    config = tmp_path / "server.yaml"
    models = {"good": {"model": str(sound)}, "bad": {"model": str(failed)}}
    config.write_text(json.dumps({"models": models, "residency": {"memory_budget": "4GiB"}, "http": {"port": 0}}))
    assert REASON in refused("--config", str(config))


@pytest.mark.slow
async def test_it_is_served_when_that_is_wanted_and_its_manifest_is_part_of_the_fingerprint(
    failed: Path, sound: Path
) -> None:
    without, allowed = await fingerprint(sound), await fingerprint(failed, allow_failed_gate=True)
    record_scores(failed, {"verdict": "passed", "reasons": []})
    assert len({without, allowed, await fingerprint(failed)}) == 3
    (failed / FILE).unlink()
    assert await fingerprint(failed) == without


def test_a_manifest_that_cannot_be_read_is_no_pass(sound: Path, failed: Path) -> None:
    (failed / FILE).write_text("{")
    with pytest.raises(ModelError, match=r"can't be read: .*engine\.allow_failed_gate"):
        check_gate(failed, EngineSettings())
    check_gate(failed, EngineSettings(allow_failed_gate=True))
    check_gate(sound, EngineSettings())
