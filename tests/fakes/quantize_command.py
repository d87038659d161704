"""`pennyweight quantize` as a user starts it, and the environment that has the libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PYTHON = Path(__file__).parents[2] / ".venv-quantize" / "bin" / "python"
TIMEOUT = 280

# Runs `pennyweight quantize` with these arguments, and checks the exit code.
Quantize = Callable[..., subprocess.CompletedProcess[str]]


def quantize_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pennyweight.server.cli", "quantize", *map(str, arguments)]
