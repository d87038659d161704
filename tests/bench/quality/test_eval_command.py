"""``pennyweight quantize eval`` as a person runs it, on models small enough to be told at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fakes.quantised_checkpoint import quantise_checkpoint
from fakes.random_models import save_random_model
from transformers import LlamaConfig, LlamaForCausalLM

from pennyweight.kernels.quantised import Scheme
from pennyweight.quantize.manifest import FILE, read_manifest

BRIEF = ("--max-tokens", "300", "--window", "96", "--max-questions", "3", "--max-prompts", "2", "--answer-tokens", "8")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Of the result, the last line."""
        return json.loads(self.out.splitlines()[-1])["data"]


def evaluate(*arguments: object) -> Ran:
    command = [sys.executable, "-m", "pennyweight.server.cli", "quantize", "eval", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "160", "NO_COLOR": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def make(path: Path, default_model: Path, seed: int) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    save_random_model(
        path, LlamaForCausalLM, LlamaConfig, default_model, seed=seed, max_position_embeddings=512, **sizes
    )
    return path


@pytest.fixture(scope="module")
def base(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "base", default_model, 0)


@pytest.fixture
def other(default_model: Path, tmp_path: Path) -> Path:
    """Another model of the same shape: as a quantisation of the base it is as bad as can be."""
    return make(tmp_path / "other", default_model, 1)


def test_a_model_is_exactly_itself(base: Path) -> None:
    ran = evaluate(base, base, "--no-speed", *BRIEF)
    assert ran.code == 0, ran.err
    scores = ran.data["scores"]
    assert scores["text"]["kl"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert scores["text"]["top1"]["value"] == scores["text"]["perplexity_ratio"]["value"] == 1.0
    assert scores["choices"]["agreement"]["value"] == scores["answers"]["equal"]["value"] == 1.0
    assert (scores["choices"]["questions"], scores["answers"]["prompts"]) == (3, 2)
    assert "The gate is PASSED" in ran.out
    assert not (base / FILE).exists()  # it is the base: nothing was quantised


@pytest.mark.slow
def test_four_bits_are_near_smaller_and_asked_for_perplexity(base: Path, tmp_path: Path) -> None:
    quantised = tmp_path / "w4a16"
    shutil.copytree(base, quantised)
    quantise_checkpoint(quantised, LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), Scheme.W4A16)
    ran = evaluate(base, quantised, "--no-speed", *BRIEF)
    assert ran.code == 0, ran.err
    text = ran.data["scores"]["text"]
    assert 0 < text["kl"]["value"] < 0.01
    assert text["kl"]["low"] <= text["kl"]["value"] <= text["kl"]["high"]
    assert ran.data["quantised"]["weight_bytes"] < ran.data["base"]["weight_bytes"]
    scores = read_manifest(quantised)["scores"]
    assert scores["verdict"] == "passed"
    assert scores["thresholds"] == {"min_top1": None, "max_kl": None, "max_perplexity_ratio": 1.08}
    before = (quantised / FILE).read_bytes()
    assert evaluate(base, quantised, "--no-speed", *BRIEF).code == 0
    assert (quantised / FILE).read_bytes() == before


@pytest.mark.slow
def test_a_bad_model_fails_and_its_manifest_and_page_say_so(base: Path, other: Path, tmp_path: Path) -> None:
    (other / FILE).write_text(json.dumps({"recipe": {"scheme": "w8a8"}}))
    load = ("--streams", "2", "--rounds", "1", "--dollars-per-hour", "0.08")
    ran = evaluate(base, other, *load, "--out", tmp_path / "out", *BRIEF)
    assert ran.code == 1, ran.err
    assert "The gate is FAILED: top-1 agreement is" in ran.out
    manifest = read_manifest(other)
    assert manifest["recipe"] == {"scheme": "w8a8"}
    assert manifest["scores"]["verdict"] == "failed"
    assert manifest["scores"]["thresholds"]["min_top1"] == 0.97
    assert str(tmp_path) not in json.dumps(manifest)
    speed = ran.data["speed"]
    for served in (speed["base"], speed["quantised"]):
        dollars = 0.08 / 3600 / served["tokens_per_second"]["2"] * 1e6
        assert served["dollars_per_million"]["2"] == pytest.approx(dollars)
        assert served["resident_bytes"] > 1 << 20
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The gate is failed: top-1 agreement is" in page
    assert "<svg" in page
    assert not re.search(r"<(script|link|img|iframe)|(src|href)=\"(https?:)?//|url\((?!#)", page)


def test_what_cannot_be_evaluated_is_one_line_of_error(base: Path, tmp_path: Path) -> None:
    ran = evaluate(base, tmp_path / "nothing", "--no-speed", *BRIEF)
    assert ran.code == 1
    assert "no model is called" in ran.err
    assert "Traceback" not in ran.err
    assert evaluate(base, base, "--choices", tmp_path / "none.jsonl").err.startswith("pennyweight: ")
    assert evaluate(base, base, "--bits", "5").code == 2
