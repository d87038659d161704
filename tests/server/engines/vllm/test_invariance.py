"""Where vLLM's batch-invariant mode is switched on, where it would not work, and what it is said to give."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.vllm.invariance import VARIABLE, refusal, variance
from pennyweight.server.engines.vllm.launch import vllm_launch


@pytest.mark.parametrize(("mode", "value"), [("bitwise", "1"), ("seeded", None), ("off", None)])
def test_it_is_switched_on_by_the_mode_alone(
    mode: str, value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    settings = EngineSettings(kind="vllm", python="/usr/bin/python3", deterministic=mode)
    assert vllm_launch(settings, tmp_path).environment.get(VARIABLE) == value


def test_a_start_is_refused_only_where_its_engine_would_die() -> None:
    assert "Triton" in refusal(device="cpu", is_switched_on=True)
    assert refusal(device="cuda", is_switched_on=True) == ""
    assert refusal(device="cpu", is_switched_on=False) == ""


def test_logits_vary_unless_it_is_on_and_covers_the_weights() -> None:
    assert "is off" in variance(is_switched_on=False, quantization=None)
    assert "awq" in variance(is_switched_on=True, quantization="awq")
    assert variance(is_switched_on=True, quantization=None) == ""
