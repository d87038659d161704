"""The whole server with TensorRT-LLM's worker, and what that worker needs to be there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fakes.server_process import MODEL, server_process
from fakes.tensorrt_llm_engine import FAKE

PATH = {"PYTHONPATH": str(FAKE)}
# What the environment of TensorRT-LLM must have: it brings numpy and llguidance itself. The fake wants tokenizers.
NEEDED = {"pennyweight", "msgspec", "typing_extensions", "numpy", "llguidance", "tensorrt_llm", "tokenizers"}
LOADED = """
import sys
import pennyweight.server.engines.tensorrt_llm.worker
names = {name.partition(".")[0] for name in sys.modules if "." not in name or name.startswith("pennyweight.")}
print(*sorted(name for name in names if name not in sys.stdlib_module_names))
"""


@pytest.mark.slow
async def test_a_chat_is_answered_over_http() -> None:
    async with server_process(engine={"kind": "tensorrt_llm", "kv_cache_memory": 1 << 30}, environment=PATH) as server:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        async with server.client.post("/v1/chat/completions", json=body) as response:
            answered = await response.json()
        assert response.status == 200, answered
        assert answered["usage"]["completion_tokens"] == 8
        assert answered["choices"][0]["finish_reason"] == "length"
        async with server.client.post("/v1/chat/completions", json=body | {"seed": 1}) as response:
            refused = await response.json()
        assert response.status == 400
        assert (refused["error"]["param"], refused["error"]["code"]) == ("seed", "unsupported_parameter")
        async with server.client.post("/v1/chat/completions", json=body | {"logprobs": True}) as response:
            assert response.status == 200, await response.text()


def test_its_worker_needs_little_beside_the_library() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], env={**os.environ, **PATH}, check=True, capture_output=True, text=True
    )
    loaded = {name for name in ran.stdout.split() if not name.startswith("_")}
    assert loaded <= NEEDED
