"""What may not differ between two texts, however near they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.cache.semantic.guards import agree, guards_of

DIFFERENT = [
    ("How many calories are in 2 eggs?", "How many calories are in 3 eggs?"),
    ("How far is 5 km?", "How far is 5 miles?"),
    ("Is 1.5 more than that?", "Is 15 more than that?"),
    ("What happened in 1914?", "What happened in 1941?"),
    ("What is -5 degrees?", "What is 5 degrees?"),
    ("Is two enough?", "Is three enough?"),
    ("Is the shop open on monday?", "Is the shop open on tuesday?"),
    ("Should I take it?", "Should I not take it?"),
    ("Why does it work?", "Why doesn't it work?"),
    ("Can I travel with a passport?", "Can I travel without a passport?"),
    ("Is it legal to do so?", "Is it illegal to do so?"),
    ("Is this possible?", "Is this impossible?"),
    ("How big is the city of Paris?", "How big is the city of Rome?"),
    ("Did Anna beat Otto?", "Did Otto beat Anna?"),
    ("What does the US think?", "What does it make us think?"),
    ("how do i get an iPhone?", "how do i get an iPad?"),
    ("What does `a = b` do?", "What does `a == b` do?"),
    ("What does print(x) do?", "What does print(y) do?"),
    ("Explain ```rm file``` to me", "Explain ```rm -r file``` to me"),
    ("What does foo_bar mean?", "What does foo_baz mean?"),
    ("What does ls -l show?", "What does ls -a show?"),
    ("Is C++ hard to learn?", "Is C# hard to learn?"),
    ("Who runs https://one.example/a ?", "Who runs https://one.example/b ?"),
    ("Where is /etc/hosts ?", "Where is /etc/passwd ?"),
    ('What does "go" mean?', 'What does "come" mean?'),
    ("What is 🍕 made of?", "What is 🍣 made of?"),
    ("Is $5 enough?", "Is €5 enough?"),
    ("What is 3 ≤ 4?", "What is 3 ≥ 4?"),
    ("Is 5% enough?", "Is 5 enough?"),
]
ALIKE = [
    ("How do I lose weight fast?", "What is a quick way of losing weight?"),
    ("Who is the mayor of Paris?", "who is the mayor of paris?"),
    ("Paris has how many people?", "How many people live in Paris?"),
    ("What happened in 1914?", "In 1914, what happened?"),
    ("Why won’t it start?", "Why won't it start?"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_in_what_counts_never_agrees(one: str, other: str) -> None:
    assert not agree(guards_of(one), guards_of(other))
    assert not agree(guards_of(other), guards_of(one))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_other_words_for_the_same_agree(one: str, other: str) -> None:
    assert agree(guards_of(one), guards_of(other))


WORDS = st.sampled_from(["how", "can", "people", "grow", "better", "plants", "in", "their", "garden", "please", "tell"])
NUMBERS = st.integers(0, 10**12).map(str) | st.decimals(0, 10**6, places=2).map(str)
NAMES = st.sampled_from(["Anna", "Otto", "Berlin", "NASA", "iPhone", "Zoë", "Łódź"])
CODE = st.sampled_from(["`x`", "`y`", "f(x)", "f(y)", "a_b", "a_c", "x[1]", "--all", "--any", "a.b.c", "std::move"])
QUOTES = st.text("abcdefgh", min_size=1, max_size=8).map(lambda text: f'"{text}"')
URLS = st.text("abcdefgh", min_size=1, max_size=8).map(lambda text: f"https://example.org/{text}")


@given(st.lists(WORDS, min_size=2, max_size=12), st.integers(0, 11), st.data())
def test_one_number_name_quotation_url_or_piece_of_code_for_another_never_agrees(
    words: list[str], place: int, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from([NUMBERS, NAMES, CODE, QUOTES, URLS]))
    one = data.draw(kind)
    other = data.draw(kind.filter(lambda found: found != one))
    # Not in front: there a name's capital says nothing, and the other text must have the word.
    place = 1 + place % len(words)
    texts = [" ".join([*words[:place], inserted, *words[place:]]) for inserted in (one, other)]
    assert not agree(*map(guards_of, texts))


@given(st.lists(WORDS, min_size=2, max_size=12), st.integers(0, 11), st.sampled_from(["not", "never", "without", "no"]))
def test_a_negation_more_never_agrees(words: list[str], place: int, negation: str) -> None:
    place %= len(words)
    assert not agree(guards_of(" ".join(words)), guards_of(" ".join([*words[:place], negation, *words[place:]])))


@given(st.text(), st.text())
def test_agreeing_is_mutual_and_total(one: str, other: str) -> None:
    assert agree(guards_of(one), guards_of(one))
    assert agree(guards_of(one), guards_of(other)) == agree(guards_of(other), guards_of(one))
