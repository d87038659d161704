"""Our server, whole, over engines that stand in for real ones, so that only what is measured differs from what users run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.config import Settings
from pennyweight.server.serving import Serving, StartableEngine, bind, uvicorn_config
from pennyweight.server.telemetry.logs import adopt_standard_logging, make_logger


def serve_engines(settings: Settings, engines: Mapping[str, StartableEngine]) -> int:
    """Serve engines by their names until SIGTERM; returns the exit code.

    It is the application that ``pennyweight serve`` starts, with its admission, limits, metrics, request log and connection guards.
    """
    logger = make_logger(settings.log)
    adopt_standard_logging(settings.log)
    admission = Admission(settings.limits.max_waiting)
    app = create_app(settings, engines, admission=admission, logger=logger)
    serving = Serving(app, settings.http, engines, admission, logger)

    async def run() -> int:
        serving.handle_signals()
        with bind(settings.http.host, settings.http.port) as listener:
            return await serving.run(listener)

    with asyncio.Runner(loop_factory=uvicorn_config(app, settings.http).get_loop_factory()) as runner:
        return runner.run(run())
