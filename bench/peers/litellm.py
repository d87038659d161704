"""LiteLLM's proxy, in front of another server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import PeerFailed, output_of

VERSION = "from importlib.metadata import version; print(version('litellm'))"
# Releases of March 2026 that were published by somebody who had stolen the package's credentials, and stole others'.
COMPROMISED = frozenset({"1.82.7", "1.82.8"})


@dataclass(frozen=True)
class LiteLlm:
    """``litellm --config``, one worker. ``models`` are passed on to the server at ``upstream`` under the same names.

    ``config`` is where its configuration is written; ``python`` is its environment's.
    """

    python: Path
    config: Path
    upstream: str
    models: tuple[str, ...]
    name: str = "litellm"

    @property
    def variant(self) -> str:
        return "proxy"

    @property
    def ready_path(self) -> str:
        return "/health/liveliness"

    @property
    def environment(self) -> Mapping[str, str]:
        # As its documentation has it for production; without asking the network for prices.
        return {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def command(self, port: int) -> Sequence[str]:
        # JSON is YAML.
        self.config.write_text(json.dumps(self._configuration()))
        serve = [str(self.python.parent / "litellm"), "--config", str(self.config), "--num_workers", "1"]
        return [*serve, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]

    def version(self) -> str:
        """The installed version. Raises PeerFailed also for one of those that must not be run."""
        found = output_of([str(self.python), "-c", VERSION])
        if found in COMPROMISED:
            raise PeerFailed(
                f"litellm {found} is a compromised release: remove it, and whatever it could read is known"
            )
        return found

    def _configuration(self) -> dict[str, Any]:
        return {
            "model_list": [
                {
                    "model_name": model,
                    "litellm_params": {
                        "model": f"openai/{model}",
                        "api_base": f"{self.upstream}/v1",
                        "api_key": "none",
                    },
                }
                for model in self.models
            ]
        }
