"""The whole server on a real socket with engines of a configuration file that have no model, and OpenAI's client."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai

from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.config_file import load_settings
from pennyweight.server.loading import LoadingReport
from pennyweight.server.models import open_models
from pennyweight.server.serving import Serving, StartableEngine, bind
from pennyweight.server.telemetry.logs import make_logger


@dataclass
class WrittenServer:
    """A running server: its engines by name, what it logged, and a client that asks once."""

    engines: dict[str, StartableEngine]
    output: io.StringIO
    client: openai.AsyncOpenAI


@asynccontextmanager
async def written_server(directory: Path, text: str) -> AsyncIterator[WrittenServer]:
    """Serve what a configuration file with this text says."""
    file = directory / "server.yaml"
    file.write_text(text)
    settings = load_settings(file, {}, {("http", "port"): (0, "--port")}).settings
    output = io.StringIO()
    logger = make_logger(settings.log, output)
    engines = open_models(settings, LoadingReport(logger), logger)
    admission = Admission(settings.limits.max_waiting)
    app = create_app(settings, engines, admission=admission, logger=logger)
    listener = bind("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = Serving(app, settings.http, engines, admission, logger, on_ready=ready.set)
    running = asyncio.create_task(serving.run(listener))
    await asyncio.wait((running, asyncio.create_task(ready.wait())), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            yield WrittenServer(engines, output, client)
    finally:
        serving.stop()
        await running
