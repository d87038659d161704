"""The servers that are compared: the same one with its limit, and with nothing but its fixed bound on what waits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.peers.base import Peer
from pennyweight.bench.peers.pennyweight import Pennyweight
from pennyweight.bench.result import own_version

WITH, WITHOUT = "with the limit", "without"


@dataclass(frozen=True)
class FixedServer:
    """Our server over an engine of ``places`` answers at a time and a token every ``step`` seconds."""

    places: int
    step: float
    options: tuple[str, ...]
    name: str = "fixed capacity"

    @property
    def variant(self) -> str:
        return f"{self.places} places"

    @property
    def ready_path(self) -> str:
        return "/ready"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        module = "pennyweight.bench.overload.fixed_server"
        fixed = ["--places", str(self.places), "--step", str(self.step)]
        return [sys.executable, "-m", module, "--port", str(port), *fixed, *self.options]

    def version(self) -> str:
        return own_version()


def options_of(max_wait: float, max_tpot: float | None) -> Mapping[str, tuple[str, ...]]:
    """What sets the two apart, by name."""
    pace = () if max_tpot is None else ("--max-tpot", f"{max_tpot:g}")
    return {WITH: ("--max-wait", f"{max_wait:g}", *pace), WITHOUT: ("--no-adaptive-limit",)}


def fixed(options: Mapping[str, tuple[str, ...]], *, places: int, step: float) -> Mapping[str, Peer]:
    """The two over an engine of a fixed capacity."""
    return {name: FixedServer(places, step, one) for name, one in options.items()}


def native(options: Mapping[str, tuple[str, ...]], *, model: Path, dtype: str, threads: int) -> Mapping[str, Peer]:
    """The two over our own engine, which computes on so many threads."""
    found = {name: ("--threads", str(threads), *one) for name, one in options.items()}
    return {name: Pennyweight(model, dtype, kv_cache_gib=1, options=one) for name, one in found.items()}
