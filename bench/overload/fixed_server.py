"""Our server, whole, over an engine of a known capacity: ``python -m pennyweight.bench.overload.fixed_server``."""

from __future__ import annotations

import argparse

from pennyweight.bench.stand_in import serve_engines
from pennyweight.server.config import HttpSettings, OverloadSettings, Settings

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
    return serve_engines(settings, {NAME: FixedEngine(given.places, given.step)})


if __name__ == "__main__":
    raise SystemExit(main())
