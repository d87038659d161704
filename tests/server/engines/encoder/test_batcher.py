"""Which inputs are computed together."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pennyweight.server.engines.encoder.batcher import Batcher, Input


def batcher(requests: dict[str, list[int]], *, max_inputs: int = 8, max_tokens: int = 64) -> Batcher:
    """Requests that wait, each with inputs of such lengths."""
    made = Batcher(max_inputs=max_inputs, max_tokens=max_tokens)
    for request_id, lengths in requests.items():
        made.add(request_id, [np.zeros(length, dtype=np.int32) for length in lengths])
    return made


def shown(inputs: list[Input]) -> list[tuple[str, int, int]]:
    """Request, place and length of each."""
    return [(one.request_id, one.place, len(one)) for one in inputs]


def test_requests_share_a_pass_shortest_input_first() -> None:
    waiting = batcher({"a": [9], "b": [3, 5], "c": [4]})
    assert shown(waiting.next_pass()) == [("b", 0, 3), ("c", 0, 4), ("b", 1, 5), ("a", 0, 9)]
    assert not waiting


def test_padding_counts_in_the_budget() -> None:
    waiting = batcher({"a": [10], "b": [10], "c": [30], "d": [10]}, max_tokens=40)
    assert [one.request_id for one in waiting.next_pass()] == ["a", "b", "d"]
    assert [one.request_id for one in waiting.next_pass()] == ["c"]


def test_an_input_over_the_budget_has_a_pass_of_its_own() -> None:
    waiting = batcher({"a": [100], "b": [1]}, max_tokens=40)
    assert shown(waiting.next_pass()) == [("a", 0, 100)]
    assert shown(waiting.next_pass()) == [("b", 0, 1)]


def test_inputs_are_counted() -> None:
    waiting = batcher({"a": [1] * 5}, max_inputs=2)
    assert [len(waiting.next_pass()) for _ in range(3)] == [2, 2, 1]


def test_lengths_near_to_the_first_ones_go_with_it() -> None:
    waiting = batcher({"a": [20], "b": [1], "c": [21], "d": [19]}, max_inputs=3)
    assert [one.request_id for one in waiting.next_pass()] == ["d", "a", "c"]


def test_a_large_request_lets_others_through() -> None:
    waiting = batcher({"large": [5] * 1000}, max_inputs=4, max_tokens=1000)
    waiting.next_pass()
    waiting.add("small", [np.zeros(50, dtype=np.int32)])
    passes = [waiting.next_pass() for _ in range(2)]
    assert "small" in {one.request_id for inputs in passes for one in inputs}


def test_what_was_dropped_is_not_computed() -> None:
    waiting = batcher({"a": [1], "b": [1]})
    waiting.drop("a")
    waiting.drop("never there")
    assert shown(waiting.next_pass()) == [("b", 0, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_every_input_is_computed_once_and_within_the_bounds(seed: int) -> None:
    chance = random.Random(seed)
    requests = {f"{n}": [chance.randint(1, 70) for _ in range(chance.randint(1, 30))] for n in range(20)}
    waiting = batcher(requests)
    seen = []
    while waiting:
        inputs = waiting.next_pass()
        assert len(inputs) <= 8
        assert len(inputs) == 1 or len(inputs) * max(map(len, inputs)) <= 64
        seen += shown(inputs)
    assert sorted(seen) == sorted(
        (name, place, size) for name, sizes in requests.items() for place, size in enumerate(sizes)
    )
