"""Rules: what each condition holds for, which rule counts, and that no text takes long."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.config_routing import HeaderTest, Rule
from pennyweight.server.errors import ConfigError
from pennyweight.server.router.prompt_facts import PromptFacts
from pennyweight.server.router.rules import Rules
from pennyweight.server.router.scripts import SCRIPTS, script_shares
from pennyweight.server.types import (
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Message,
    Request,
    SamplingParams,
    TextPrompt,
    TokensPrompt,
    Tool,
)

CODE = """Why is this slow?
def total(rows):
    found = 0
    for row in rows:
        found += row.price
    return found
"""
RUST = "fn main() {\n    let x = 1;\n    println!(x);\n}\n"
SQL = "SELECT name, total\nFROM orders\nWHERE total != 0;\n"
PROSE = """Dear all,
we import goods from Norway, and return (some of) them.
If it rains: stay inside. For example; or so I think.
- one item
    - another, indented
Yours, Ann
"""


def chat(*texts: str, **more: Any) -> Request:
    """A chat in which a user says these things, with answers between them."""
    messages: list[Message] = [Message(role="system", content="Be brief.")]
    for text in texts:
        messages += [Message(role="user", content=text), Message(role="assistant", content="Да.")]
    prompt = ChatPrompt(messages=tuple(messages[:-1]), tools=more.pop("tools", ()))
    return Request(id="r", model="auto", prompt=prompt, sampling=more.pop("sampling", SamplingParams()), **more)


def holds(request: Request, sent: dict[str, str] | None = None, **conditions: Any) -> bool:
    return Rules([Rule(tier="t", **conditions)]).match(PromptFacts(request, sent)) is not None


def test_the_first_rule_that_holds_counts_and_one_without_conditions_holds_for_all() -> None:
    rules = Rules([Rule(tier="long", min_chars=100), Rule(model="short", max_chars=20), Rule(tier="rest")])
    found = [rules.match(PromptFacts(chat("x" * length))) for length in (100, 5, 50)]
    assert [(one.tier, one.model) for one in found if one] == [("long", None), (None, "short"), ("rest", None)]
    assert Rules([]).match(PromptFacts(chat("x"))) is None


def test_all_messages_count_for_the_length_and_only_users_for_the_rest() -> None:
    facts = PromptFacts(chat("Hello there", "What is it?"))
    assert (facts.num_chars, facts.num_turns, facts.question) == (9 + 11 + 3 + 11, 2, "What is it?")
    assert dict(facts.scripts) == {"latin": 1.0}


def test_token_ids_have_an_estimated_length_and_nothing_else() -> None:
    request = Request(id="r", model="m", prompt=TokensPrompt(token_ids=(1,) * 10), sampling=SamplingParams())
    facts = PromptFacts(request)
    assert (facts.num_chars, facts.num_turns, facts.question) == (40, 1, "")
    assert (dict(facts.scripts), facts.has_code) == ({}, False)
    assert not holds(request, scripts=("latin",))


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Where is the station, please?", ("latin",)),
        ("Où est la gare, s’il vous plaît ?", ("latin",)),
        ("Где находится вокзал?", ("cyrillic",)),
        ("火车站在哪里？", ("han",)),
        ("駅はどこですか。教えてください", ("kana", "han")),
        ("역이 어디에 있나요?", ("hangul",)),
        ("أين المحطة؟", ("arabic",)),
        ("איפה התחנה?", ("hebrew",)),
        ("Πού είναι ο σταθμός;", ("greek",)),
        ("स्टेशन कहाँ है?", ("devanagari",)),
        ("สถานีอยู่ที่ไหน", ("thai",)),
        ("Что такое Python, кто его написал?", ("cyrillic",)),
        ("𠀀𠀁𠀂", ("han",)),
    ],
)
def test_a_text_is_written_in_the_scripts_that_most_letters_are_of(text: str, scripts: tuple[str, ...]) -> None:
    request = chat(text)
    assert holds(request, scripts=scripts)
    assert not holds(request, scripts=tuple(set(SCRIPTS) - set(scripts)))


@given(st.text())
def test_shares_of_scripts_are_shares(text: str) -> None:
    shares = script_shares(text)
    assert not shares or sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert shares.keys() <= set(SCRIPTS)


@pytest.mark.parametrize("text", [CODE, RUST, SQL, "Fix it:\n```\nx\n```", "~~~\ny"])
def test_code_is_code(text: str) -> None:
    assert holds(chat(text), has_code=True)
    assert not holds(chat(text), has_code=False)


@pytest.mark.parametrize("text", [PROSE, "", "Is x = 3 right?", "1. one\n2. two\n3. three", "def"])
def test_prose_is_not(text: str) -> None:
    assert holds(chat(text), has_code=False)


def test_tools_schema_and_tenant() -> None:
    schema = SamplingParams(constraint=Constraint(kind=ConstraintKind.JSON_SCHEMA, value="{}"))
    assert holds(chat("x", tools=(Tool(name="f"),)), has_tools=True)
    assert not holds(chat("x"), has_tools=True)
    assert holds(chat("x", sampling=schema), has_json_schema=True)
    assert holds(chat("x"), has_json_schema=False)
    assert holds(chat("x", tenant="ann"), tenants=("ann", "bob"))
    assert not holds(chat("x"), tenants=("ann",))


def test_headers_are_there_equal_or_match() -> None:
    headers = {"x-app": "mobile 3.1"}
    for test, expected in [
        (HeaderTest(name="X-App"), True),
        (HeaderTest(name="X-App", equals="mobile 3.1"), True),
        (HeaderTest(name="X-App", equals="mobile"), False),
        (HeaderTest(name="X-App", matches=r"^mobile \d"), True),
        (HeaderTest(name="X-App", matches=r"^desktop"), False),
        (HeaderTest(name="X-Other"), False),
        (HeaderTest(name="X-Other", matches=""), False),
    ]:
        assert holds(chat("x"), headers, headers=(test,)) is expected, test


def test_a_regex_is_searched_for_in_the_last_message_whatever_is_in_it() -> None:
    assert holds(chat("Hi", "Please Translate this"), regex=r"(?i)\btranslate\b")
    assert not holds(chat("translate", "no"), regex="translate")
    assert holds(chat("\ud800 übersetze"), regex="übersetze")


def test_all_conditions_of_a_rule_must_hold() -> None:
    conditions: dict[str, Any] = {"min_chars": 10, "regex": "price", "tenants": ("ann",)}
    assert holds(chat("What is the price?", tenant="ann"), **conditions)
    assert not holds(chat("What is the price?", tenant="bob"), **conditions)
    assert not holds(chat("What is the cost?", tenant="ann"), **conditions)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(), "rule 1 must have a tier or a model"),
        (Rule(tier="a", model="b"), "not both"),
        (Rule(tier="a", scripts=("english",)), "there is no script 'english'"),
        (Rule(tier="a", regex="(a"), r"rule 1, regex '\(a' is no regular expression of RE2: missing \)"),
        (Rule(tier="a", regex=r"(a)\1"), "no regular expression of RE2: invalid escape sequence"),
        (Rule(tier="a", headers=(HeaderTest(name="X", equals="a", matches="b"),)), "equals or matches"),
    ],
)
def test_rules_that_cannot_be_used_are_told(rule: Rule, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rules([rule])


@given(st.text(), st.text())
def test_facts_are_the_same_for_the_same_request_and_never_fail(first: str, second: str) -> None:
    request = chat(first, second)
    one, other = PromptFacts(request), PromptFacts(request)
    assert (one.num_chars, one.scripts, one.code_share) == (other.num_chars, other.scripts, other.code_share)
    assert 0.0 <= one.code_share <= 1.0
    assert one.has_code == other.has_code
    text = PromptFacts(Request(id="r", model="m", prompt=TextPrompt(text=first), sampling=SamplingParams()))
    assert (text.question, text.num_chars) == (first, len(first))


@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "(" * 1_000_000, "```" * 300_000, "я\n" * 500_000])
def test_no_text_takes_long(text: str) -> None:
    """The regex is one on which backtracking takes for ever."""
    rules = Rules([Rule(tier="a", regex=r"(a+)+$b"), Rule(tier="b", has_code=True, scripts=("thai",)), Rule(tier="c")])
    began = time.perf_counter()
    found = rules.match(PromptFacts(chat(text)))
    assert found is not None
    assert found.tier == "c"
    assert time.perf_counter() - began < 0.5
