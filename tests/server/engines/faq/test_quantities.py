"""Amounts and dates: what agrees with what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.faq.quantities import quantities
from pennyweight.server.engines.faq.words import terms, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,500.50 EUR", "€1.500,50"),
        ("1.500", "1,500"),
        ("1.500", "1.5"),
        ("1\u00a0500\u00a0000", "1'500'000"),
        ("5%", "5 percent"),
        ("$20", "20 dollars"),
        ("30 days", "30"),
        ("٣٠", "30"),
        ("24 December 2026", "2026-12-24"),
        ("December 24th", "24.12.2026"),
        ("the 24th of Dec, 2026", "Dec. 24, 2026"),
        ("03/04/2026", "April 3, 2026"),
        ("03/04/2026", "March 4, 2026"),
        ("2026", "24 December 2026"),
    ],
)
def test_these_agree(one: str, other: str) -> None:
    assert any(first.agrees(second) for first in quantities(one) for second in quantities(other))
    assert any(second.agrees(first) for first in quantities(one) for second in quantities(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("30 days", "14 days"),
        ("5%", "5 EUR"),
        ("$20", "20 €"),
        ("24 December 2026", "24 December 2027"),
        ("24 December", "24 November"),
        ("December 24", "24 items"),
        ("iso9001", "9001"),
        ("31.2.2026", "2.31"),
    ],
)
def test_these_do_not(one: str, other: str) -> None:
    assert not any(first.agrees(second) for first in quantities(one) for second in quantities(other))


@given(st.text(st.characters() | st.sampled_from("0123456789.,-/'% "), max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    for one in quantities(text):
        assert one.readings
        assert one.agrees(one)
    assert words(text) == words(" ".join(words(text))) or any(not word.isascii() for word in words(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What's the STRASSE, Straße?", ["what", "s", "the", "strasse", "strasse"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("如何退货", ["如何", "何退", "退货"]),
        ("ﬁne Ｆull", ["fine", "full"]),
        ("Об Ём", ["об", "ём"]),
        ("🙂 !", []),
    ],
)
def test_words_are_those_of_any_language(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_forms_of_a_word_share_its_beginning() -> None:
    assert set(terms(["deliveries"])) & set(terms(["delivery"])) == {"deliv*"}
    assert terms(["20261224"]) == ["20261224"]
