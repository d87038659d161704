"""What answers: a server that runs, or one that is started for it, as users write either."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.load.endpoint import base_url
from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.serve_command import ServeCommand
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError

from .client import ServerClient, connected
from .recording import Survey

URLS = ("http://", "https://")
CONFIGURATIONS = (".yaml", ".yml")
# A replay isn't to be recorded, least of all among what is replayed: of a tenant that there isn't, and below the directory of the
# server that is started, which ends with it.
_NOT_RECORDED = {"PENNYWEIGHT_RECORD__DIRECTORY": "recordings", "PENNYWEIGHT_RECORD__TENANTS": "key:none"}
# A manifest's parts that a server is started by, and the flags that ask for them.
_FLAGS = {"precision": "--dtype", "kv_cache_dtype": "--kv-cache-dtype"}


@dataclass(frozen=True)
class Engine:
    """A ``url``, or a server that is started by ``serve``. ``text`` is how its user wrote it."""

    text: str
    url: str | None = None
    serve: ServeCommand | None = None

    @asynccontextmanager
    async def reached(self, api_key: str | None) -> AsyncIterator[ServerClient]:
        """A client of it; what was started is ended after. Raises PeerFailed and NoServer."""
        if self.serve is None:
            async with connected(self.url or "", api_key) as client:
                yield client
            return
        async with running(self.serve) as server, connected(server.url, api_key) as client:
            yield client


def read_engine(text: str) -> Engine:
    """A URL, or what ``pennyweight serve`` takes: a model or a configuration file (.yaml), and further flags. Raises ConfigError.

    Files are found from the working directory.
    """
    if text.startswith(URLS):
        return Engine(text, url=base_url(text))
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} can't be read: {error}") from None
    if not words:
        raise ConfigError("name an engine: a URL, a model, or a configuration file")
    if words[0].endswith(CONFIGURATIONS):
        words = ["--config", *words]
    return Engine(text, serve=_serve(map(_absolute, words)))


def engine_of(survey: Survey) -> Engine:
    """A server of the model that was recorded, in the precision of its manifest. Raises ConfigError where that isn't known."""
    if len(survey.models) != 1 or survey.routed:
        asked = "were routed" if survey.routed else f"were answered by {', '.join(sorted(survey.models))}"
        raise ConfigError(f"the recorded requests {asked}: name the server, or its configuration file, with --against")
    (model,) = survey.models
    manifest = survey.manifests.get(model)
    words = (model, *(() if manifest is None else _flags(manifest)))
    return Engine(shlex.join(words), serve=_serve(words))


def _serve(words: Iterable[str]) -> ServeCommand:
    arguments = tuple(words)
    environment = _NOT_RECORDED if "--config" in arguments else {}
    return ServeCommand(arguments, shlex.join(arguments), environment)


def _flags(manifest: Manifest) -> list[str]:
    parts = {name: manifest.parts[name] for name in _FLAGS if name in manifest.parts}
    flags = [word for name, value in parts.items() for word in (_FLAGS[name], value)]
    return [*flags, "--kernels", "torch"] if manifest.parts.get("kernels") == "torch" else flags


def _absolute(word: str) -> str:
    """A file's whole path: a server is started in a directory of its own."""
    path = Path(word).expanduser()
    return os.fspath(path.absolute()) if not word.startswith("-") and path.exists() else word
