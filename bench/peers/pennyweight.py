"""Pennyweight's own server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.result import own_version

from .serve_command import ServeCommand


@dataclass(frozen=True)
class Pennyweight:
    """``pennyweight serve``, as it is installed for the Python that runs the benchmark.

    With ``vllm_python`` it serves with vLLM's engine, of that Python's environment, which must have Pennyweight too.
    """

    model: Path
    dtype: str
    kv_cache_gib: int
    vllm_python: Path | None = None
    eager: bool = False
    prefix_caching: bool = True
    options: tuple[str, ...] = ()  # further ones of the command
    name: str = "pennyweight"

    @property
    def variant(self) -> str:
        if self.vllm_python is None:
            return self.dtype
        return f"on vLLM {self.dtype} {'eager' if self.eager else 'compiled'}"

    @property
    def ready_path(self) -> str:
        return "/ready"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        options = ["--dtype", self.dtype, "--kv-cache-memory", f"{self.kv_cache_gib}GiB"]
        if self.vllm_python is not None:
            options += ["--engine", "vllm", "--engine-python", str(self.vllm_python)]
            options += ["--enforce-eager"] if self.eager else []
        options += [] if self.prefix_caching else ["--no-enable-prefix-caching"]
        return ServeCommand((str(self.model), *options, *self.options)).command(port)

    def version(self) -> str:
        return own_version()
