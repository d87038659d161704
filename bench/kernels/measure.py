"""Timings from a process that has the kernels, and what the machine's ceilings make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

COMMAND = (sys.executable, "-m", "pennyweight.kernels.timing")


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """A line that kernels/timing prints; see Timing there."""

    kernel: str
    by: str
    sizes: dict[str, int]
    seconds: float
    operations: int
    num_bytes: int
    arithmetic: str


@dataclass(frozen=True)
class Ceilings:
    """``operations`` a second by arithmetic, and bytes a second that are read from memory (``bandwidth``)."""

    operations: Mapping[str, float]
    bandwidth: float


@dataclass(frozen=True)
class Measured:
    """A timing under its roof (Williams, Waterman and Patterson, "Roofline", 2009): the time that the machine's ceilings allow.

    ``share`` is that time over what it took, ``bound`` which of the two ceilings is the lower.
    """

    timing: Timing
    roof_seconds: float
    share: float
    bound: str


def under_roof(timing: Timing, ceilings: Ceilings) -> Measured:
    """The timing beside the machine's ceilings."""
    computing = timing.operations / ceilings.operations[timing.arithmetic]
    moving = timing.num_bytes / ceilings.bandwidth
    roof = max(computing, moving)
    return Measured(timing, roof, roof / timing.seconds, "memory" if moving >= computing else "arithmetic")


def measure(request: Mapping[str, Any], on_timing: Callable[[Timing], None]) -> tuple[Ceilings, list[Measured]]:
    """Time everything that is asked for. Raises RuntimeError where the process that times ends with an error."""
    child = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(request))
        child.stdin.close()
        ceilings, found = None, []
        for line in child.stdout:
            if ceilings is None:
                operations = json.loads(line)
                ceilings = Ceilings(operations, operations.pop("bandwidth"))
                continue
            timing = msgspec.json.decode(line, type=Timing)
            found.append(under_roof(timing, ceilings))
            on_timing(timing)
        status = child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    if status != 0 or ceilings is None:
        raise RuntimeError(f"{' '.join(COMMAND)} ended with status {status}")
    return ceilings, found
