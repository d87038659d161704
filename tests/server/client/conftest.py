"""The official OpenAI client, unmodified, on the real server with the real model; one server for all these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from fakes.server_process import MODEL, ServerProcess, server_process


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server(default_model: object) -> AsyncIterator[ServerProcess]:
    async with server_process() as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def client(server: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


@pytest.fixture(scope="session")
def model() -> str:
    return MODEL
