"""Which entry is found: the one that is asked for, in any language, and none where there is none."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.faq.documents import Entry
from pennyweight.server.engines.faq.index import K1, WEIGHT, FaqIndex

DAY = date(2026, 11, 27)
THRESHOLD = 0.5


def entry(question: str, answer: str, **more: object) -> Entry:
    return Entry(**({"id": question, "question": question, "answer": answer, "document": "faq.md"} | more))  # type: ignore[arg-type]


ENTRIES = [
    entry("What are your opening hours?", "Monday to Friday from 9:00 to 18:00.", tags=("open",)),
    entry("How do I return an item?", "Send it back within 30 days.", tags=("refund", "money back")),
    entry("How long does delivery take?", "Two to four working days within the country."),
    entry("How much is shipping?", "Shipping costs 4.90 EUR; from 50 EUR on it is free."),
    entry("How do I reset my password?", "Choose 'Forgot password' on the sign-in page."),
    entry("Do you ship abroad?", "Yes, to all countries of the European Union."),
    entry("How can I cancel my order?", "Under 'My orders', until it is sent."),
    entry("Are you open on 24 December 2026?", "On 24 December 2026 we close at 14:00."),
    entry("Are you open on 31 December 2026?", "On 31 December 2026 we close at 15:00."),
    entry("Wie kann ich meine Bestellung stornieren?", "Unter „Meine Bestellungen“."),
    entry("Где мой заказ?", "В разделе «Мои заказы»."),
    entry("如何退货？", "请在30天内寄回。"),
    entry("Is there a Black Friday sale?", "20 % on all.", valid_from=DAY, valid_until=DAY),
]
INDEX = FaqIndex(ENTRIES)


def answered(question: str, day: date = DAY) -> str | None:
    found = INDEX.search(question, day)
    return found.entry.question if found is not None and found.score >= THRESHOLD else None


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("opening hours", 0),
        ("i want my money back", 1),
        ("How long do deliveries take", 2),
        ("I forgot my password, how can I reset it?", 4),
        ("cancel order", 6),
        ("Kann ich meine Bestellung stornieren?", 9),
        ("ГДЕ ЗАКАЗ", 10),
        ("请问如何退货", 11),
    ],
)
def test_other_words_for_the_same_are_understood_as_far_as_words_go(question: str, expected: int) -> None:
    assert answered(question) == ENTRIES[expected].question


@pytest.mark.parametrize(
    "question",
    [
        "How do I boil an egg?",
        "What is the capital of France?",
        "How do I do it?",
        "What are you?",
        "How long is the Nile?",
        "Wie ist das Wetter?",
        "今天天气怎么样",
        "",
        "?!",
    ],
)
def test_what_the_documents_do_not_know_is_not_answered(question: str) -> None:
    assert answered(question) is None


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.question)
def test_an_entrys_own_question_finds_it_however_it_is_written_and_whatever_stands_around_it(one: Entry) -> None:
    assert answered(one.question) == one.question
    assert answered(f"  {one.question.upper()}!!") == one.question


def test_a_question_within_a_longer_message_is_found() -> None:
    assert answered("Good morning dear team! How much is shipping? Best regards, Ann") == "How much is shipping?"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Are you open on 24.12.2026?", 7),
        ("are you open on 31/12/2026", 8),
        ("Are you open on December 31?", 8),
        ("Are you open on 1 January 2027?", None),
        ("Are you open on 24 December 2027?", None),
        ("Is shipping free from 50 €?", 3),
        ("Is shipping free from 80 €?", None),
    ],
)
def test_dates_and_amounts_must_agree(question: str, expected: int | None) -> None:
    assert answered(question) == (None if expected is None else ENTRIES[expected].question)


def test_an_entry_is_given_on_its_days_alone() -> None:
    question = "Is there a Black Friday sale?"
    assert [answered(question, date(2026, 11, day)) for day in (26, 27, 28)] == [None, question, None]


def test_of_two_that_are_as_good_the_earlier_one_is_found() -> None:
    twins = [entry("Same question here?", "One.", id="b"), entry("Same question here?", "Two.", id="a")]
    found = FaqIndex(twins).search("Same question here?", DAY)
    assert found is not None
    assert found.entry.id == "b"


def test_the_reference_is_the_score_of_an_entry_of_average_length() -> None:
    """What bm25s gives, so that a change of its formula shows."""
    index = FaqIndex([entry("alfa bravo", "x y"), entry("kilo limas", "x y")])
    scores = index._index.get_scores(["alfa", "bravo"])
    assert scores[0] / index._reference(["alfa", "bravo"]) == pytest.approx(1.0)
    assert WEIGHT / (K1 + WEIGHT) < 1.0


@given(st.text(max_size=80), st.permutations(range(len(ENTRIES))))
def test_the_same_question_has_the_same_answer_with_a_finite_score(question: str, order: list[int]) -> None:
    first, again = INDEX.search(question, DAY), INDEX.search(question, DAY)
    assert first == again
    assert first is None or 0.0 < first.score < 10.0
    other = FaqIndex([ENTRIES[place] for place in order[:3]]).search(question, DAY)
    assert other is None or other.entry in [ENTRIES[place] for place in order[:3]]
