"""bench kernels: timings under the machine's ceilings, and the command from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pennyweight.bench.kernels.measure import Ceilings, Timing, under_roof
from pennyweight.bench.report.kinds.registry import tell
from pennyweight.bench.report.stored import find_results

CEILINGS = Ceilings({"int8": 1e12, "bfloat16": 1e11}, bandwidth=1e10)


@pytest.mark.parametrize(
    ("operations", "num_bytes", "arithmetic", "roof", "bound"),
    [
        (2_000_000, 1_000_000, "int8", 1e-4, "memory"),
        (1_000_000_000, 1_000_000, "int8", 1e-3, "arithmetic"),
        (1_000_000_000, 1_000_000, "bfloat16", 1e-2, "arithmetic"),
    ],
)
def test_the_roof_is_the_lower_of_two_ceilings(
    operations: int, num_bytes: int, arithmetic: str, roof: float, bound: str
) -> None:
    timing = Timing(
        kernel="product w8a8",
        by="pennyweight",
        sizes={"M": 1, "K": 1000, "N": 1000},
        seconds=2 * roof,
        operations=operations,
        num_bytes=num_bytes,
        arithmetic=arithmetic,
    )
    measured = under_roof(timing, CEILINGS)
    assert (measured.roof_seconds, measured.share, measured.bound) == (pytest.approx(roof), pytest.approx(0.5), bound)


@pytest.mark.slow
def test_every_kernel_is_timed_and_told_of(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pennyweight.server.cli", "bench", "kernels", "--shape", "tiny", "--rows", "1,3"]
    ran = subprocess.run(
        [*command, "--threads", "1", "--out", str(tmp_path)], capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout.splitlines()[-1])
    found = {(one["timing"]["kernel"], one["timing"]["by"]) for one in result["data"]["kernels"]}
    for kind in ("float32", "bfloat16", "w8a8", "w8a16", "w4a16"):
        assert {(f"product {kind}", by) for by in ("pennyweight", "torch", "reference")} <= found
    assert {("attention decode", "torch"), ("attention prefill", "pennyweight"), ("sampling", "reference")} <= found
    assert all(one["timing"]["seconds"] > 0 and one["share"] > 0 for one in result["data"]["kernels"])
    story = tell(find_results([tmp_path])[0])
    assert story.title == "Kernels"
    assert len(story.figures) == 5


def test_rows_that_are_none_are_told() -> None:
    command = [sys.executable, "-m", "pennyweight.server.cli", "bench", "kernels", "--rows", "1,x"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "whole numbers" in ran.stderr
