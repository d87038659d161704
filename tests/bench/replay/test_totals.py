from __future__ import annotations

import pytest
from fakes.recorded import answer, answered_choice, record

from pennyweight.bench.replay.comparison import compare
from pennyweight.bench.replay.manifests import Difference, differences
from pennyweight.bench.replay.totals import MOST_NAMES, Agreement, Totals
from pennyweight.server.engines.manifest import Manifest

DIVERGED = answer(answered_choice(token_ids=(11, 99), hashes=b"", text="a x"))


def test_all_are_bitwise_equal_only_if_each_is() -> None:
    totals = Totals()
    assert not totals.is_bitwise
    totals.add(compare(record(), answer()), is_routed=False)
    assert totals.is_bitwise
    totals.add(compare(record(), DIVERGED), is_routed=False)
    assert not totals.is_bitwise
    assert (totals.requests, totals.bitwise, totals.tokens, totals.matched) == (2, 1, 8, 5)
    assert totals.partings == {1: 1}


def test_another_route_is_no_equal_replay() -> None:
    totals = Totals()
    totals.add(compare(record(), answer(route='"tiny";tier="deep"')), is_routed=True)
    assert (totals.routed, totals.same_route, totals.bitwise) == (1, 0, 1)
    assert not totals.is_bitwise


def test_what_is_kept_does_not_grow_with_the_requests() -> None:
    totals = Totals()
    for number in range(3 * MOST_NAMES):
        failed = compare(record(number), answer(status=500, error="engine_error", message=f"unlike {number}"))
        totals.add(failed, is_routed=False)
        totals.change_of("tiny", ("fp_one", f"fp_{number}"), ())
    assert len(totals.reasons) == MOST_NAMES + 1
    assert totals.reasons["others"] == 2 * MOST_NAMES
    assert len(totals.manifests) == MOST_NAMES


def test_agreement_and_differences_are_over_all_tokens() -> None:
    found = Agreement()
    assert found.share is None
    found.add([True, True, False], [0.5, 0.0, 0.1])
    found.add([True], [])
    assert found.share == 0.75
    assert found.mean_difference == pytest.approx(0.2)
    assert found.max_difference == 0.5


def test_manifests_differ_by_the_names_of_their_parts() -> None:
    one = Manifest(fingerprint="fp_one", model="tiny", parts={"weights": "a", "dtype": "int8", "kernels": "avx2"})
    other = Manifest(fingerprint="fp_two", model="tiny", parts={"weights": "b", "dtype": "int8", "tiles": "8"})
    assert differences(one, other, ("fp_one", "fp_two")) == (
        Difference("kernels", "avx2", None),
        Difference("tiles", None, "8"),
        Difference("weights", "a", "b"),
    )
    assert differences(one, None, ("fp_one", "fp_two")) == (Difference("fingerprint", "fp_one", "fp_two"),)
    assert differences(one, other, ("fp_one", "fp_one")) == ()
