"""What judges read of an answer, each by itself."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path

import pytest

from pennyweight.server.errors import ConfigError
from pennyweight.server.router.cascade.agreement import normalised
from pennyweight.server.router.cascade.calibration import FORMAT, Calibration, load_calibration
from pennyweight.server.router.cascade.margin import margin
from pennyweight.server.router.cascade.schema_checker import SchemaChecker
from pennyweight.server.router.cascade.whole_answer import Called


def logs(*probabilities: float) -> list[float]:
    return [math.log(one) for one in probabilities]


def test_the_margin_is_between_the_two_likeliest_tokens() -> None:
    tokens = [logs(0.9, 0.1), logs(0.5, 0.5), logs(1.0)]
    assert margin(tokens, "mean") == pytest.approx((0.8 + 0.0 + 1.0) / 3)
    assert margin(tokens, "least") == pytest.approx(0.0)
    # Of what is not told of a second no more than the rest is left.
    assert margin([logs(0.7)], "mean") == pytest.approx(0.4)
    assert margin([], "mean") is None
    assert margin([[]], "mean") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris.", " paris "),
        ("**Paris**", "Paris"),
        ('{"b": 1, "a": [2]}', '{"a":[2],"b":1}'),
        ('"Paris"', "Paris!"),
        ("\uff17", "7"),
        ("A  b\nc", "a b c"),
    ],
)
def test_what_is_written_otherwise_may_say_the_same(one: str, other: str) -> None:
    assert normalised(one, []) == normalised(other, [])


def test_what_says_something_else_does_not() -> None:
    assert normalised("7", []) != normalised("8", [])
    assert normalised("", [Called("f", '{"a":1}')]) == normalised("", [Called("f", '{ "a": 1 }')])
    assert normalised("", [Called("f", '{"a":1}')]) != normalised("", [Called("g", '{"a":1}')])
    assert normalised("[" * 100_000, []) == normalised("[" * 100_000, [])


def calibration(**changes: object) -> dict[str, object]:
    found = {"format": FORMAT, "model": "m", "over": "mean", "rows": 9, "data_sha256": ""}
    return found | {"margins": [0.2, 0.6], "shares": [0.1, 0.9]} | changes


def test_a_calibration_is_straight_between_its_knots_and_level_beyond(tmp_path: Path) -> None:
    path = tmp_path / "margin.json"
    path.write_text(json.dumps(calibration()))
    found = load_calibration(path, "mean")
    assert isinstance(found, Calibration)
    assert [found.right(one) for one in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0.1, 0.1, 0.5, 0.9, 0.9])


@pytest.mark.parametrize(
    "changes", [{"format": 0}, {"over": "least"}, {"margins": [0.6, 0.2]}, {"shares": [0.1]}, {"margins": []}, {"x": 1}]
)
def test_a_calibration_that_can_t_be_used_says_why(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "margin.json"
    path.write_text(json.dumps(calibration(**changes)))
    with pytest.raises(ConfigError):
        load_calibration(path, "mean")


async def test_a_schema_is_checked_in_a_process_that_fetches_nothing_and_ends_what_takes_too_long() -> None:
    checker = SchemaChecker(seconds=0.5)
    try:
        schema = json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}}})
        assert await checker.is_valid(schema, '{"a": 1}')
        assert not await checker.is_valid(schema, '{"a": 3}')
        assert not await checker.is_valid('{"type": 7}', "1")
        assert not await checker.is_valid("[", "1")
        assert not await checker.is_valid('{"$ref": "http://127.0.0.1:1/schema"}', "1")
        assert not await checker.is_valid("{}", "[" * 1_000_000)
        began = time.monotonic()
        assert not await checker.is_valid('{"pattern": "^(a+)+$"}', json.dumps("a" * 64 + "!"))
        assert time.monotonic() - began < 5
        # The next gets a process of its own, also after one that nobody waits for any more.
        assert await checker.is_valid(schema, '{"a": 1}')
        leaving = asyncio.create_task(checker.is_valid('{"pattern": "^(a+)+$"}', json.dumps("a" * 64 + "!")))
        await asyncio.sleep(0.1)
        leaving.cancel()
        assert await checker.is_valid(schema, '{"a": 2}')
    finally:
        await checker.aclose()
    assert not await checker.is_valid(schema, '{"a": 1}')
