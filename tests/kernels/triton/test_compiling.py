"""Every kernel compiles for Ampere and Hopper, here and now, and fits into their multiprocessors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# By capability: what a program may have of shared memory (CUDA C++ Programming Guide, technical specifications).
SHARED_BYTES = {80: 163 << 10, 90: 227 << 10}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("capability", SHARED_BYTES)
def test_the_kernels_of_a_model_of_8b_compile(capability: int, tmp_path: Path) -> None:
    script = Path(__file__).with_name("compile_launches.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, str(script), str(capability)],
        capture_output=True,
        text=True,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    kernels = [json.loads(line) for line in ran.stdout.splitlines()]
    names = {kernel["name"] for kernel in kernels}
    assert names == {
        "multiply",
        "add_parts",
        "rms_norm_row",
        "silu_mul_row",
        "quantise_row",
        "rotate_and_store",
        "attend_single",
        "merge_splits",
        "attend_many",
        "choose",
    }
    assert [kernel for kernel in kernels if kernel["shared"] > SHARED_BYTES[capability]] == []
