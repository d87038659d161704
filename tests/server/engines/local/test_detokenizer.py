"""From tokens to text as they come: whole characters, nothing taken back, stop strings wherever tokens are cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.local.detokenizer import Detokenizer
from pennyweight.server.engines.local.tokenizer import Tokenizer, load_tokenizer

# One token a byte, so that text can be cut anywhere.
SPECIAL = 256


class ByteTokenizer:
    """Ids are bytes; one more is a special token."""

    special_ids = frozenset({SPECIAL})

    def token_bytes(self, token_id: int) -> bytes:
        return b"<end>" if token_id == SPECIAL else bytes([token_id])


def detokenizer(**options: object) -> Detokenizer:
    return Detokenizer(ByteTokenizer(), **options)  # type: ignore[arg-type]


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def run(detokenizer: Detokenizer, pieces: Sequence[bytes]) -> tuple[str, str | None]:
    text = ""
    for piece in pieces:
        more, stop = detokenizer.push(piece)
        text += more
        if stop is not None:
            return text, stop
    return text + detokenizer.flush(), None


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab\n🙂é"), max_size=40)
CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(TEXTS, CUTS)
def test_the_text_is_the_whole_one_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    assert run(detokenizer(), pieces_of(text.encode(), cuts)) == (text, None)


@given(TEXTS, CUTS, st.lists(st.text("ab\né", min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_stop_string_that_is_complete_first_ends_the_text(text: str, cuts: list[int], stops: list[str]) -> None:
    found = [(text.index(stop) + len(stop), text.index(stop), stop) for stop in stops if stop in text]
    got = run(detokenizer(stop=stops), pieces_of(text.encode(), cuts))
    if not found:
        assert got == (text, None)
    else:
        _, start, stop = min(found)
        assert got == (text[:start], stop)


@given(TEXTS, CUTS, st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_is_held_that_no_stop_string_can_claim(text: str, cuts: list[int], stops: list[str]) -> None:
    one = detokenizer(stop=stops)
    seen = 0
    for piece in pieces_of(text.encode(), cuts):
        more, stop = one.push(piece)
        seen += len(more)
        if stop is not None:
            return
    held = text[seen:]
    assert held == "" or any(stop.startswith(held) for stop in stops)


@given(
    st.text("abé", max_size=16),
    CUTS,
    st.lists(st.text("abé", min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 6),
    st.booleans(),
)
def test_the_text_ends_as_if_it_were_searched_after_every_token(
    text: str, cuts: list[int], stops: list[str], min_tokens: int, includes: bool
) -> None:
    one = detokenizer(stop=stops, min_tokens=min_tokens, include_stop_str_in_output=includes)
    assert run(one, pieces_of(text.encode(), cuts)) == searched(text.encode(), stops, min_tokens, includes)


def searched(data: bytes, stops: list[str], min_tokens: int, includes: bool) -> tuple[str, str | None]:
    """The plain way: after each token, here a byte, look through all that there is for a stop string just completed."""
    seen = ""
    for place in range(len(data)):
        before, seen = seen, data[: place + 1].decode(errors="ignore")
        found = [
            (start, stop)
            for stop in stops
            for start in range(len(seen))
            if seen.startswith(stop, start) and start + len(stop) > len(before)
        ]
        if found and place >= min_tokens:
            start, stop = min(found)
            return seen[: start + len(stop) if includes else start], stop
    return data.decode(), None


def test_a_stop_string_is_kept_where_asked_for() -> None:
    assert run(detokenizer(stop=["b"], include_stop_str_in_output=True), [b"a", b"bc"]) == ("ab", "b")


def test_a_stop_string_within_the_first_tokens_does_not_count() -> None:
    assert run(detokenizer(stop=["b"], min_tokens=2), [b"ab", b"c", b"b"]) == ("abc", "b")
    # One that is complete only after them does, though it began before.
    assert run(detokenizer(stop=["bc"], min_tokens=2), [b"ab", b"c"]) == ("a", "bc")


def test_special_tokens_are_left_out_unless_asked_for() -> None:
    shown = detokenizer(skip_special_tokens=False)
    assert detokenizer().push([97, SPECIAL]) == ("a", None)
    assert shown.push([97, SPECIAL]) == ("a<end>", None)


def test_bytes_that_never_become_a_character_are_replaced_at_the_end() -> None:
    one = detokenizer()
    assert one.push("🙂".encode()[:2]) == ("", None)
    assert one.flush() == "\ufffd"


@pytest.fixture(scope="module")
def tokenizer(default_model: Path) -> Tokenizer:
    return load_tokenizer(default_model)


@pytest.mark.parametrize(
    "text", ["Hello world", "  two  spaces\n\n", "naïve 世界 🙂👩‍👩‍👧", "def f(x):\n\treturn x**2"]
)
def test_the_real_model_s_tokens_come_back_as_their_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    one = Detokenizer(tokenizer)
    assert "".join(one.push([token_id])[0] for token_id in ids) + one.flush() == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
