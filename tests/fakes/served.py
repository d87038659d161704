"""Any engine behind the real application on a real socket."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai

from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.config import HttpSettings, LogSettings, Settings
from pennyweight.server.serving import Serving, StartableEngine, bind
from pennyweight.server.telemetry.logs import make_logger


@asynccontextmanager
async def served(engine: StartableEngine, name: str, *, api_keys: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """Serve an engine under a name; gives the address of the API. The engine is closed in the end."""
    http = HttpSettings(port=0, grace_period=5.0, api_keys=api_keys)
    settings = Settings(http=http, log=LogSettings(level="debug"))
    engines = {name: engine}
    admission = Admission(settings.limits.max_waiting)
    logger = make_logger(settings.log, io.StringIO())
    app = create_app(settings, engines, admission=admission, logger=logger)
    listener = bind(http.host, http.port)
    host, port = listener.getsockname()
    ready = asyncio.Event()
    serving = Serving(app, http, engines, admission, logger, on_ready=ready.set)
    running = asyncio.create_task(serving.run(listener))
    await ready.wait()
    try:
        yield f"http://{host}:{port}/v1"
    finally:
        serving.stop()
        await running


@asynccontextmanager
async def openai_client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, which asks once."""
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=30) as client:
        yield client
