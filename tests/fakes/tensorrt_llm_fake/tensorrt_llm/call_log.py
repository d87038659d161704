"""What the fake was asked to do, for tests to look at."""

from __future__ import annotations

import json
import os
from typing import Any

# A file that calls are written to, a JSON object a line.
LOG = "FAKE_TRTLLM_LOG"


def log_call(what: str, given: dict[str, Any]) -> None:
    """Write down that ``what`` was called with ``given``, where a file is named for that."""
    if file := os.environ.get(LOG):
        line = json.dumps({"call": what, **given}, default=lambda one: {**vars(one)})
        with open(file, "a") as log:
            log.write(line + "\n")
