"""``pennyweight router`` as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.judged_prompts import judged_prompts, write_judged


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pennyweight.server.cli", "router", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "160", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def last_line(ran: subprocess.CompletedProcess[str]) -> Any:
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judged(tmp_path_factory.mktemp("data") / "judged.jsonl", judged_prompts())


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("router")
    found = last_line(run("train", data, "--out", out))
    assert found["rows"] == 400
    assert found["scores"]["all"]["apgr"] > 0.7
    return out


def test_a_trained_router_is_judged_on_other_prompts(trained: Path, tmp_path: Path) -> None:
    others = write_judged(tmp_path / "others.jsonl", judged_prompts(seed=1))
    ran = run("eval", others, "--router", trained, "--resamples", 50, "--out", tmp_path / "out")
    result = last_line(ran)
    assert result["complaints"] == []
    assert list(result["data"]["kinds"]) == ["all", "choices", "open"]
    of_all = result["data"]["kinds"]["all"]
    assert list(of_all["routers"]) == ["learned", "random", "length", "TF-IDF", "TF-IDF, of the gain", "oracle"]
    apgr = {name: one["figures"]["apgr"]["value"] for name, one in of_all["routers"].items()}
    assert apgr["random"] == pytest.approx(0.5)
    assert 0.5 < apgr["learned"] < apgr["oracle"]
    assert "CPT(80)" in ran.stdout
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()


def test_judging_on_what_was_learned_is_marked_as_invalid(trained: Path, data: Path) -> None:
    ran = run("eval", data, "--router", trained, "--resamples", 10)
    assert "trained on this very data" in last_line(ran)["complaints"][0]
    assert "INVALID" in ran.stdout


def test_without_a_router_the_recipe_is_cross_validated(data: Path) -> None:
    found = last_line(run("eval", data, "--resamples", 50, "--cross-validate", 4))["data"]
    assert "Cross-validated in 4 folds" in found["how"]
    learned = found["kinds"]["open"]["routers"]["learned"]
    interval = learned["figures"]["apgr"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert learned["beyond_length"]["low"] <= learned["beyond_length"]["value"] <= learned["beyond_length"]["high"]


def test_what_is_no_data_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    ran = run("eval", tmp_path / "none.jsonl")
    assert ran.returncode != 0
    assert "can't be read" in ran.stderr
    assert "Traceback" not in ran.stderr
