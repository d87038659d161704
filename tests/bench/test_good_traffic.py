"""The good clients' requests: repeatable, and new to the prefix cache in each phase."""

from __future__ import annotations

from pennyweight.bench.hostile.good_traffic import good_bodies


def contents(phase: int) -> list[str]:
    return [body["messages"][0]["content"] for body in good_bodies("m", 50, seed=3, phase=phase)]


def test_a_phase_has_the_same_questions_as_another_with_other_numbers_in_front() -> None:
    first, second = contents(0), contents(1)
    assert first == contents(0)
    assert [one.partition(" ")[2] for one in first] == [one.partition(" ")[2] for one in second]
    assert [len(one) for one in first] == [len(one) for one in second]
    assert not {one.partition(" ")[0] for one in first} & {one.partition(" ")[0] for one in second}
