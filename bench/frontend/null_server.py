"""Our server, whole, over engines that compute nothing: ``python -m pennyweight.bench.frontend.null_server``.

Settings are as they are by default; only the engines differ. It stands here and not behind ``serve --engine null``, so that no
server in production can come to answer with nothing by a slip of its configuration.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pennyweight.bench.stand_in import serve_engines
from pennyweight.server.config import (
    EngineSettings,
    HttpSettings,
    ModelSettings,
    ResponseCacheSettings,
    Settings,
    TierSettings,
    TokenPrice,
)
from pennyweight.server.engines.local.client import LocalEngine
from pennyweight.server.engines.local.launch import Launch
from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.serving import StartableEngine

from .names import AT_ONCE, STEPPED
from .null_engine import NullEngine

CACHE_BYTES = 64 << 20
TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm afternoon sun."


def in_process(step: float) -> Mapping[str, StartableEngine]:
    """Engines within the server's process: the API, JSON, the event stream, admission and metrics are all that is there."""
    return {AT_ONCE: NullEngine(AT_ONCE), STEPPED: NullEngine(STEPPED, step=step)}


def in_child(model: Path, step: float) -> Mapping[str, StartableEngine]:
    """Engines in processes of their own, as real ones are: with tokenising, detokenising and the frames between the two."""
    tokenizer = load_tokenizer(model)
    tokens = tokenizer.encode(TEXT, add_special_tokens=False)
    settings = EngineSettings(kind="null", model=str(model))

    def engine(name: str, seconds: float) -> LocalEngine:
        arguments = {"tokens": tokens, "step": seconds}
        launch = Launch(engine="null", module="pennyweight.bench.frontend.null_worker", arguments=arguments)
        return LocalEngine(settings, model, name, launch)

    return {AT_ONCE: engine(AT_ONCE, 0.0), STEPPED: engine(STEPPED, step)}


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step", type=float, required=True, help="seconds from one token of an answer to the next")
    parser.add_argument("--model", type=Path, help="engines in processes of their own, with this model's tokenizer")
    parser.add_argument("--response-cache", action="store_true", help="keep answers and give them again")
    parser.add_argument("--router", action="store_true", help="have a tier for each engine, which auto:ENGINE names")
    given = parser.parse_args()
    cache = ResponseCacheSettings(max_bytes=CACHE_BYTES if given.response_cache else 0)
    engines = in_process(given.step) if given.model is None else in_child(given.model, given.step)
    settings = Settings(http=HttpSettings(port=given.port), response_cache=cache)
    if given.router:
        settings = msgspec.structs.replace(
            settings,
            models={name: ModelSettings(price=TokenPrice(input=1.0, output=2.0)) for name in engines},
            tiers={name: TierSettings(models=(name,)) for name in engines},
        )
    return serve_engines(settings, engines)


if __name__ == "__main__":
    raise SystemExit(main())
