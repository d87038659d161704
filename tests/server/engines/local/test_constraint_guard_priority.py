"""Compiling constraints gives way to everything else."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import psutil

from pennyweight.server.engines.local.constraint_guard import ConstraintGuard
from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.types import Constraint, ConstraintKind

SLOW = Constraint(kind=ConstraintKind.REGEX, value="(a|b)*a(a|b){400}", param="regex")


def nice_of_session(pid: int) -> int:
    """The nice value of a process's group where the kernel has such groups, else of the process."""
    group = Path(f"/proc/{pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.exists() else psutil.Process(pid).nice()


def helpers() -> list[psutil.Process]:
    """The helper and what it has forked; the tests' process may have other children."""
    own = psutil.Process().children(recursive=True)
    return [child for child in own if "pennyweight.server.engines.local.constraint_guard_worker" in child.cmdline()]


async def test_what_compiles_has_a_low_priority_of_its_own_and_of_its_session(default_model: Path) -> None:
    guard = ConstraintGuard(load_tokenizer(default_model).to_json, deadline_seconds=10.0)
    checking = asyncio.create_task(guard.check(SLOW))
    try:
        while len(children := helpers()) < 2:
            assert not checking.done()
            await asyncio.sleep(0.001)
        assert [child.nice() for child in children] == [min(os.nice(0) + 10, 19)] * 2
        assert [nice_of_session(child.pid) for child in children] == [10, 10]
    finally:
        checking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await checking
        await guard.aclose()
