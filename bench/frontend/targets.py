"""What is measured: our server and the others, each as a peer to start and what of its processes counts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.peers.base import Peer
from pennyweight.bench.result import own_version


@dataclass(frozen=True)
class NullServer:
    """Our server over engines that compute nothing: within its process, or with ``model`` in processes of their own.

    With ``is_cached`` it has a response cache, and as the load asks the same each time, all it does is give an answer again. With
    ``is_routed`` it has one as well and a router, which a load that never asks the same twice all passes through.
    """

    step: float
    model: Path | None = None
    is_cached: bool = False
    is_routed: bool = False
    name: str = "pennyweight"

    @property
    def variant(self) -> str:
        if self.is_cached:
            return "response cache hit"
        if self.is_routed:
            return "routed, response cache miss"
        return "null engine" if self.model is None else "null engine's process"

    @property
    def ready_path(self) -> str:
        return "/ready"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        serve = [sys.executable, "-m", "pennyweight.bench.frontend.null_server", "--port", str(port)]
        serve += ["--step", str(self.step), *([] if self.model is None else ["--model", str(self.model)])]
        serve += ["--response-cache"] if self.is_cached or self.is_routed else []
        return [*serve, "--router"] if self.is_routed else serve

    def version(self) -> str:
        return own_version()


@dataclass(frozen=True)
class Upstream:
    """The constant server that gateways are put in front of; measured alone it is what their latency is added to."""

    step: float
    name: str = "upstream"

    @property
    def variant(self) -> str:
        return "alone"

    @property
    def ready_path(self) -> str:
        return "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        serve = [sys.executable, "-m", "pennyweight.bench.frontend.upstream", "--port", str(port)]
        return [*serve, "--step", str(self.step)]

    def version(self) -> str:
        return own_version()


@dataclass(frozen=True)
class Target:
    """A peer to measure. Of one with ``own_process_only`` the processes that it starts, its engines, don't count. ``prefix`` stands before
    the models' names, and with ``is_varied`` no two requests are the same.

    An engine that computes decides the rates and the latencies: with ``is_idle_engine`` false these say nothing of the front.
    """

    peer: Peer
    own_process_only: bool = False
    is_idle_engine: bool = True
    prefix: str = ""
    is_varied: bool = False

    @property
    def label(self) -> str:
        return f"{self.peer.name} {self.peer.variant}"
