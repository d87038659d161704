from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pennyweight.bench.memory import process_tree, pss_bytes, resident_bytes

MIB = 1024 * 1024
# A parent with 32 MiB of memory that its child shares, and 16 MiB of the child's own.
PARENT = f"""
import os, sys, time
shared = os.urandom({32 * MIB})
if os.fork() == 0:
    own = os.urandom({16 * MIB})
    print("ready", flush=True)
    time.sleep(60)
os.wait()
"""


def test_the_proportional_set_size_is_read() -> None:
    assert pss_bytes("00400000-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  1500 kB\n") == 1500 * 1024


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells a process's proportional set size"
)
def test_memory_that_processes_share_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        tree = process_tree(parent.pid)
        try:
            assert len(tree) == 2
            assert 48 * MIB < resident_bytes(parent.pid) < 72 * MIB
        finally:
            for process in tree:
                process.kill()


def test_a_process_that_is_gone_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert process.pid != os.getpid()
    with pytest.raises(psutil.NoSuchProcess):
        resident_bytes(process.pid)
