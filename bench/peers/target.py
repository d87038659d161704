"""What is measured: a server that is started for it, or one that runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pennyweight.bench.gpu.server import server_pid
from pennyweight.bench.load.endpoint import Api, Endpoint, find_endpoint

from .base import Peer
from .process import running


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ``peer`` that is started for each round and stopped after it, or a ``url`` that is measured as it is.

    ``model`` is how the server calls what it is asked for, the first that it lists where that is None; ``api_key_env`` is the
    environment variable with its API key.
    """

    name: str
    peer: Peer | None = None
    url: str | None = None
    model: str | None = None
    api_key_env: str | None = None

    @property
    def api_key(self) -> str | None:
        return os.environ.get(self.api_key_env) if self.api_key_env else None

    def describe(self) -> dict[str, Any]:
        """For the result."""
        served: Mapping[str, Any] = {"url": self.url} if self.peer is None else {"command": list(self.peer.command(0))}
        return {"name": self.name, **served}


@dataclass(frozen=True)
class Reached:
    """A target that answers. ``pid`` is its process on this machine, None where that can't be known.

    ``started`` is when that was, on time.perf_counter()'s clock; it and ``seconds_to_ready`` are None for a URL.
    """

    endpoint: Endpoint
    pid: int | None
    started: float | None = None
    seconds_to_ready: float | None = None


@asynccontextmanager
async def reaching(target: Target, api: Api) -> AsyncIterator[Reached]:
    """The target's server, started if it is ours to start and then ended after. Raises PeerFailed and BadAnswer."""
    if target.peer is not None:
        async with running(target.peer) as server:
            endpoint = await find_endpoint(server.url, model=target.model, api=api, api_key=target.api_key)
            yield Reached(endpoint, server.pid, server.started, server.seconds_to_ready)
    elif target.url is not None:
        endpoint = await find_endpoint(target.url, model=target.model, api=api, api_key=target.api_key)
        yield Reached(endpoint, server_pid(endpoint.url))
