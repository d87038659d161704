"""Our server, whole, over an engine of a known capacity: ``python -m pennyweight.bench.overload.fixed_server``.

Only the engine differs from what ``pennyweight serve`` starts, as in bench/frontend.
"""

from __future__ import annotations

import argparse
import asyncio

from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.config import HttpSettings, OverloadSettings, Settings
from pennyweight.server.serving import Serving, bind, uvicorn_config
from pennyweight.server.telemetry.logs import adopt_standard_logging, make_logger

from .fixed_engine import NAME, FixedEngine


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--places", type=int, required=True, help="answers that are made at a time")
    parser.add_argument("--step", type=float, required=True, help="seconds from one token of an answer to the next")
    parser.add_argument("--max-wait", type=float)
    parser.add_argument("--max-tpot", type=float)
    parser.add_argument("--no-adaptive-limit", action="store_true")
    given = parser.parse_args()
    settings = Settings(
        http=HttpSettings(port=given.port),
        overload=OverloadSettings(
            adaptive=not given.no_adaptive_limit, max_wait=given.max_wait, max_tpot=given.max_tpot
        ),
    )
    engines = {NAME: FixedEngine(given.places, given.step)}
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


if __name__ == "__main__":
    raise SystemExit(main())
