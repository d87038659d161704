"""Many who ask at once whether a constraint compiles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pennyweight.server.engines.local.constraint_guard import MAX_CHECKS, ConstraintGuard
from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.types import Constraint, ConstraintKind

MANY = 10 * MAX_CHECKS


def regex(value: str) -> Constraint:
    return Constraint(kind=ConstraintKind.REGEX, value=value, param="regex")


SLOW = regex("(a|b)*a(a|b){400}")


@pytest.fixture
async def guard(default_model: Path) -> AsyncIterator[ConstraintGuard]:
    opened = ConstraintGuard(load_tokenizer(default_model).to_json, deadline_seconds=20.0)
    yield opened
    await opened.aclose()


async def test_those_who_ask_the_same_share_one_compilation_and_one_slot(guard: ConstraintGuard) -> None:
    await guard.check(regex("a"))
    slow = [asyncio.create_task(guard.check(SLOW)) for _ in range(MANY)]
    await asyncio.sleep(0)
    assert guard.num_checks == 1
    await guard.check(regex("b"))
    found = await asyncio.gather(*slow, return_exceptions=True)
    assert len({str(one) for one in found}) == 1
    assert guard.num_checks == 0


async def test_one_who_leaves_leaves_the_compilation_to_the_others(guard: ConstraintGuard) -> None:
    await guard.check(regex("a"))
    first = asyncio.create_task(guard.check(regex("b{2}")))
    await asyncio.sleep(0)
    second = asyncio.create_task(guard.check(regex("b{2}")))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
