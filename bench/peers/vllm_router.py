"""The vllm-router package, a gateway in Rust, in front of another server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import output_of
from .process import free_port

VERSION = "from importlib.metadata import version; print(version('vllm-router'))"


@dataclass(frozen=True)
class VllmRouter:
    """``python -m vllm_router.launch_router`` with one worker, at ``upstream``; ``python`` is its environment's."""

    python: Path
    upstream: str
    name: str = "vllm-router"

    @property
    def variant(self) -> str:
        return "round robin"

    @property
    def ready_path(self) -> str:
        return "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        serve = [str(self.python), "-m", "vllm_router.launch_router", "--worker-urls", self.upstream]
        options = ["--policy", "round_robin", "--log-level", "warning", "--prometheus-port", str(free_port())]
        return [*serve, "--host", "127.0.0.1", "--port", str(port), *options]

    def version(self) -> str:
        return output_of([str(self.python), "-c", VERSION])
