"""What is counted as the same, over which ways of serving, and against what a mode's cost is reckoned."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pennyweight.bench.determinism.account import wholes_of
from pennyweight.bench.determinism.answer import Digest, digest_of, uniqueness
from pennyweight.bench.determinism.cost import WAYS, Speed, cost_of, order
from pennyweight.bench.determinism.measure import Measured
from pennyweight.bench.determinism.variant import Axes, Variant, one_at_a_time
from pennyweight.bench.load.sample import BadAnswer

BASE = Variant(model="m", dtype="int8")


def answer(ids: list[int], hashes: list[str]) -> dict[str, Any]:
    return {"choices": [{"token_ids": ids, "logits_hashes": hashes}]}


def digest(ids: list[int], hashes: list[str]) -> Digest:
    return digest_of(answer(ids, hashes), len(ids))


def test_other_bits_behind_the_same_tokens_are_counted_and_placed() -> None:
    found = uniqueness([digest([1, 2, 3], ["a", "b", "c"]), digest([1, 2, 3], ["a", "x", "y"])])
    assert (found.unique_answers, found.unique_logits) == (1, 2)
    assert (found.first_divergent_token, found.first_divergent_logits) == (None, 1)


def test_other_tokens_are_counted_and_placed() -> None:
    found = uniqueness([digest([1, 2], ["a", "b"]), digest([1, 4], ["a", "c"]), digest([1, 2], ["a", "b"])])
    assert (found.completions, found.unique_answers, found.unique_logits) == (3, 2, 2)
    assert (found.first_divergent_token, found.first_divergent_logits) == (1, 1)


@pytest.mark.parametrize(("ids", "hashes"), [([1], ["a", "b"]), ([1, 2], ["a"]), ([], [])])
def test_an_answer_without_a_hash_for_each_of_its_tokens_is_none(ids: list[int], hashes: list[str]) -> None:
    with pytest.raises(BadAnswer, match="where 2 of each"):
        digest_of(answer(ids, hashes), 2)


def test_each_axis_is_changed_alone() -> None:
    first, *others = one_at_a_time(BASE, Axes())
    assert len(others) == 5
    for one in others:
        assert sum(getattr(one, name) != getattr(first, name) for name in Axes().__struct_fields__) == 1
    command = others[0].serve.command(8000)
    assert command[command.index("--threads") + 1] == str(others[0].threads)
    assert "--response-cache" not in command


def test_answers_of_all_servers_of_a_mode_are_compared_with_each_other() -> None:
    def measured(variant: Variant, last: str, mode: str = "bitwise") -> Measured:
        return Measured(
            variant=variant,
            mode=mode,
            fingerprint="fp",
            digests=[digest([1, 2], ["a", last])] * 2,
            background=0,
            generations=2,
            generated_tokens=4,
            preemptions=0,
        )

    first, other, *_ = one_at_a_time(BASE, Axes())
    (bitwise, off) = wholes_of([measured(first, "b"), measured(other, "c"), measured(first, "d", "off")])
    assert (bitwise.found.completions, bitwise.found.unique_logits, bitwise.fingerprints) == (4, 2, 1)
    assert (off.mode, off.found.unique_logits) == ("off", 1)


def test_a_mode_costs_what_it_lacks_of_the_fastest_way() -> None:
    alone, together = [[90.0, 95.0], [100.0, 100.0], [10.0, 10.0]], [[300.0, 300.0], [200.0, 200.0], [100.0, 100.0]]
    speeds = [
        Speed(way=way, warm_up=50.0, alone=alone[place], together=together[place]) for place, way in enumerate(WAYS)
    ]
    found = cost_of(speeds)
    assert found.alone == pytest.approx(0.075)
    assert (found.together, found.fastest_together) == (0.0, "bitwise")
    assert found.fastest_alone == "off"


def test_no_way_always_follows_the_same_other() -> None:
    rounds = [order(WAYS, number) for number in range(6)]
    assert all(set(one) == set(WAYS) for one in rounds)
    follows = Counter(pair for one in rounds for pair in itertools.pairwise(one))
    assert set(follows.values()) == {2}


def test_a_way_that_was_too_slow_to_be_measured_is_not_the_fastest() -> None:
    own = [Speed(way=way, warm_up=50.0, alone=[90.0], together=[300.0]) for way in WAYS[:2]]
    found = cost_of([*own, Speed(way=WAYS[2], warm_up=1.0, alone=[], together=[])])
    assert (found.alone, found.together) == (0.0, 0.0)


def test_what_fails_is_told_in_a_result_with_what_was_measured_before(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pennyweight.server.cli",
        "bench",
        "determinism",
        "--model",
        "there-is-no-such-model",
    ]
    done = subprocess.run(
        [*command, "--dtype", "int8", "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert "before it was ready" in result["complaints"][0]
    assert result["data"] == {"rows": [], "wholes": [], "costs": []}
