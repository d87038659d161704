"""How much memory loading takes: what is kept, and one tensor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
# What the allocator and the mapped file's pages may add.
SLACK = 48 * MIB

SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import psutil
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.native.model_runner import ModelRunner

process, peak, is_over = psutil.Process(), 0, False

def watch():
    global peak
    while not is_over:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.001)

settings = EngineSettings(dtype=sys.argv[2], kv_cache_memory=64 << 20, threads=1)
before = process.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
runner = ModelRunner(Path(sys.argv[1]), settings, on_progress=lambda done, total: None)
is_over = True
print(json.dumps({"peak": peak - before, "kept": process.memory_info().rss - before}))
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_peak_is_what_is_kept_and_the_largest_tensor(dtype: str, default_model: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(default_model), dtype], check=True, capture_output=True, text=True
    )
    measured = json.loads(ran.stdout)
    largest = 49152 * 576 * 2
    assert measured["peak"] <= measured["kept"] + largest + SLACK, measured
