from __future__ import annotations

import os
import subprocess
import sys

from pennyweight.bench.machine import busy_seconds
from pennyweight.bench.process_cpu import cpu_seconds

# A parent whose child burns so many seconds of CPU, ends, and is waited for.
BURN = (
    "import os, subprocess, sys\n"
    "burn = 'import time\\nwhile time.process_time() < 0.4: pass'\n"
    "subprocess.run([sys.executable, '-c', burn])\n"
    "print('done', flush=True); sys.stdin.read()"
)


def test_the_cpu_of_a_child_that_has_ended_still_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        before = cpu_seconds(parent.pid)
        assert parent.stdout.readline() == "done\n"
        used = cpu_seconds(parent.pid) - before
        parent.communicate()
    assert 0.35 < used < 5


def test_it_only_grows() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(2_000_000))
    assert cpu_seconds(os.getpid()) >= before


def test_the_machines_cpu_has_this_process_in_it() -> None:
    own, all_of_it = cpu_seconds(os.getpid()), busy_seconds()
    while cpu_seconds(os.getpid()) - own < 0.3:
        sum(range(100_000))
    # Both are counted in ticks of 10 ms.
    assert busy_seconds() - all_of_it > 0.2
