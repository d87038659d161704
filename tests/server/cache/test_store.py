"""The response cache's store: bounded in bytes and in time, whatever is put into it."""

from __future__ import annotations

import sys

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.cache.label import Label, Selection
from pennyweight.server.cache.store import AnswerStore, Held, StoredAnswer, encode_answer
from pennyweight.server.types import Delta, Finished, FinishReason, Started, TokenLogprob, TopLogprob, Usage


def answer(text: str = "Hello") -> StoredAnswer:
    top = TopLogprob(token_id=None, token="a", bytes=b"\xff", logprob=-1.5)
    logprob = TokenLogprob(token_id=7, token=text, bytes=text.encode(), logprob=-0.25, top=(top,))
    started = Started(
        request_id="r", model="m", fingerprint="fp", prompt_token_ids=(1, 2), prompt_logprobs=(None, logprob)
    )
    deltas = (
        Delta(index=0, text=text, token_ids=(7,), logprobs=(logprob,)),
        Delta(index=0, text="", finish_reason=FinishReason.STOP, stop_reason=3),
    )
    return StoredAnswer(started, deltas, Finished(usage=Usage(prompt_tokens=2, completion_tokens=1)))


LABEL = Label("tenant", "m", "m")


def key(number: int) -> bytes:
    return number.to_bytes(32)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_comes_back_as_it_was() -> None:
    store = AnswerStore(1 << 20, 60.0, Clock())
    store.put(key(1), encode_answer(answer()), LABEL)
    assert store.get(key(1)) == Held(answer(), 0.0)
    assert store.get(key(2)) is None


def test_an_answer_is_forgotten_at_the_end_of_its_time() -> None:
    clock = Clock()
    store = AnswerStore(1 << 20, 60.0, clock)
    store.put(key(1), encode_answer(answer()), LABEL)
    clock.now += 59.9
    assert store.get(key(1)) is not None
    clock.now += 0.2
    assert store.get(key(1)) is None
    assert (store.nbytes, len(store)) == (0, 0)


def test_the_one_not_asked_for_the_longest_goes_first() -> None:
    probe = AnswerStore(1 << 20, 60.0, Clock())
    probe.put(key(0), encode_answer(answer()), LABEL)
    store = AnswerStore(3 * probe.nbytes, 60.0, Clock())
    for number in range(3):
        store.put(key(number), encode_answer(answer()), LABEL)
    assert store.get(key(0)) is not None
    store.put(key(3), encode_answer(answer()), LABEL)
    assert [store.get(key(number)) is not None for number in range(4)] == [True, False, True, True]
    assert store.evictions == 1


def test_an_answer_larger_than_all_is_not_kept_and_puts_nothing_out() -> None:
    store = AnswerStore(2000, 60.0, Clock())
    store.put(key(1), encode_answer(answer()), LABEL)
    store.put(key(2), encode_answer(answer("x" * 2000)), LABEL)
    assert store.get(key(1)) is not None
    assert store.get(key(2)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3000), st.booleans()), max_size=40))
def test_the_bytes_counted_are_those_kept_and_never_more_than_allowed(steps: list[tuple[int, int, bool]]) -> None:
    store = AnswerStore(8000, 60.0, Clock())
    for number, length, is_put in steps:
        if is_put:
            store.put(key(number), encode_answer(answer("x" * length)), LABEL)
        else:
            store.get(key(number))
        assert 0 <= store.nbytes <= 8000
        assert (store.nbytes == 0) is (len(store) == 0)
    assert store.purge(Selection()) >= 0
    assert (store.nbytes, len(store)) == (0, 0)


def test_what_is_counted_beside_the_bytes_is_no_less_than_it_takes() -> None:
    store = AnswerStore(1 << 30, 60.0, Clock())
    keys = [key(number) for number in range(2000)]
    for one in keys:
        # A label of its own for each, its names as long as a tenant's is.
        store.put(one, encode_answer(answer()), Label(*(f"{name} {one.hex()[-28:]}" for name in "abc")))
    entries = store._entries
    table = sys.getsizeof(entries) / len(entries)
    each = [
        sum(
            map(
                sys.getsizeof,
                (one, entry, entry.encoded, entry.made, entry.label, *msgspec.structs.astuple(entry.label)),
            )
        )
        for one, entry in entries.items()
    ]
    assert max(each) + table <= store.nbytes / len(entries)


def test_what_is_kept_beyond_its_time_is_only_for_who_asks_for_it() -> None:
    clock = Clock()
    store = AnswerStore(1 << 20, 60.0, clock, stale=30.0)
    store.put(b"k", encode_answer(answer()), LABEL)
    store.attach(b"k", "name", object(), 1)
    clock.now += 70
    assert store.get(b"k") is None
    assert store.attached("name") is None
    assert store.get(b"k", max_stale=5.0) is None
    held = store.get(b"k", max_stale=20.0)
    assert held is not None
    assert (held.is_stale, held.age) == (True, 70)
    clock.now += 20
    assert store.get(b"k", max_stale=1e9) is None
    assert len(store) == 0
