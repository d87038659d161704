from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.tiny_words import save_word_tokenizer

from pennyweight.bench.load.choice import Source
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.lengths import Lengths, parse_lengths
from pennyweight.bench.load.prompt_file import FileWorkload, read_prompts
from pennyweight.bench.load.request import sessions
from pennyweight.bench.load.synthetic import SyntheticWorkload
from pennyweight.bench.load.vocabulary import Vocabulary, read_vocabulary

VOCABULARY = Vocabulary({number: f"word{number}" for number in range(100, 1100)})
COMPLETIONS = Endpoint("", "m")
CHAT = Endpoint("", "m", "chat")
TEN = Lengths("fixed", 10)


def synthetic(**more: Any) -> SyntheticWorkload:
    return SyntheticWorkload(VOCABULARY, **({"input_tokens": TEN, "output_tokens": TEN} | more))


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [("256", 256, 0), ("100-300", 200, 58), ("normal:512:50", 512, 50), ("lognormal:512:256", 512, 256)],
)
def test_lengths_have_the_distribution_that_was_asked_for(text: str, mean: float, deviation: float) -> None:
    values = np.array(parse_lengths(text).draw(20_000, np.random.default_rng(0)))
    assert values.mean() == pytest.approx(mean, rel=0.02)
    assert values.std() == pytest.approx(deviation, rel=0.05)
    assert values.min() >= 1


def test_a_range_has_both_of_its_ends() -> None:
    assert set(parse_lengths("2-4").draw(200, np.random.default_rng(0))) == {2, 3, 4}


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "5-2", "normal:5", "normal:a:b", "gamma:1:2", "1.5"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no length in tokens; write 256"):
        parse_lengths(text)


def test_synthetic_prompts_have_exact_lengths_and_are_all_different() -> None:
    found = synthetic().requests(COMPLETIONS, 50, (0, 0), True)
    assert {len(one.body["prompt"]) for one in found} == {10}
    assert len({tuple(one.body["prompt"][:2]) for one in found}) == 50
    assert {(one.prompt_tokens, one.output_tokens, one.body["max_tokens"]) for one in found} == {(10, 10, 10)}


def test_a_seed_and_a_loads_number_give_the_same_requests_again() -> None:
    first = synthetic().requests(COMPLETIONS, 5, (1, 0), True)
    assert synthetic().requests(COMPLETIONS, 5, (1, 0), True) == first
    assert synthetic().requests(COMPLETIONS, 5, (2, 0), True) != first
    assert synthetic().requests(COMPLETIONS, 5, (1, 1), True) != first


def test_prefixes_are_shared() -> None:
    found = synthetic(prefix_tokens=20, prefixes=3).requests(COMPLETIONS, 60, (0, 0), True)
    assert {len(one.body["prompt"]) for one in found} == {30}
    assert len({tuple(one.body["prompt"][:20]) for one in found}) == 3
    [system, user] = synthetic(prefix_tokens=2).requests(CHAT, 1, (0, 0), True)[0].body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")


def test_turns_are_of_one_session_and_add_only_the_users_message() -> None:
    found = synthetic(turns=3, prefix_tokens=5, think_time=0.5).requests(CHAT, 2, (0, 0), True)
    assert sessions(found) == [[0, 1, 2], [3, 4, 5]]
    assert [len(one.body["messages"]) for one in found] == [2, 1, 1, 2, 1, 1]
    assert {one.think_time for one in found} == {0.5}


def test_text_of_words_is_as_many_tokens_as_was_asked_for(default_model: Path) -> None:
    from tokenizers import Tokenizer

    vocabulary = read_vocabulary(default_model)
    tokenizer = Tokenizer.from_file(str(default_model / "tokenizer.json"))
    ids = vocabulary.ids[:: len(vocabulary.ids) // 500]
    assert tokenizer.encode(vocabulary.text(ids), add_special_tokens=False).ids == ids


@pytest.mark.parametrize(
    ("name", "text", "messages"),
    [
        ("a.jsonl", '{"prompt": "Hi"}\n\n{"messages": [{"role": "user", "content": "Ho"}]}\n', ["Hi", "Ho"]),
        ("a.jsonl", '{"turns": ["Hi", "And?"]}\n', ["Hi"]),
        ("a.json", '[{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "x"}]}]', ["Hi"]),
        ("a.txt", "Hi\n\nHo\n", ["Hi", "Ho"]),
    ],
)
def test_each_form_of_prompts_is_read(name: str, text: str, messages: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        assert [row.messages[0]["content"] for row in read_prompts(path)] == messages


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no prompts"),
        ('{"prompt": "Hi"}\nHi\n', "line 2: no JSON"),
        ("[]", "line 1: no object"),
        ('{"question": "Hi"}', "line 1: no prompt in it; write"),
        ('{"prompt": []}', "no prompt in it"),
        ('{"turns": [5]}', "no prompt in it"),
    ],
)
def test_a_file_without_prompts_is_refused_with_the_place(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_prompts(tmp_path / "a.jsonl")


def test_a_files_rows_come_in_random_order_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number}\n" for number in range(10)))
    workload = FileWorkload(path, read_prompts(path), TEN)
    texts = [one.body["prompt"] for one in workload.requests(COMPLETIONS, 25, (0, 0), False)]
    assert sorted(texts[:10]) == sorted(texts[10:20]) == [str(number) for number in range(10)]
    assert texts[:10] not in (sorted(texts[:10]), texts[10:20])
    assert "ignore_eos" not in workload.requests(COMPLETIONS, 1, (0, 0), False)[0].body


def test_a_rows_later_turns_are_sent_as_a_session(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"turns": ["1", "2", "3"], "output_tokens": 7}\n')
    workload = FileWorkload(path, read_prompts(path), TEN, turns=2)
    found = workload.requests(CHAT, 1, (0, 0), False)
    assert [one.body["messages"][0]["content"] for one in found] == ["1", "2"]
    assert [one.body["max_tokens"] for one in found] == [7, 7]
    assert sessions(found) == [[0, 1]]


def test_real_prompts_are_read(prompts: list[dict[str, Any]]) -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / "prompts" / "prompts.jsonl.gz"
    assert len(read_prompts(path)) == len(prompts)


@pytest.mark.parametrize(
    ("row", "endpoint", "complaint"),
    [
        ({"prompt": [1, 2]}, CHAT, "take --endpoint completions"),
        (
            {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
            COMPLETIONS,
            "take --endpoint chat",
        ),
    ],
)
def test_rows_that_an_endpoint_cannot_take_are_refused(
    row: dict[str, Any], endpoint: Endpoint, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=complaint):
        FileWorkload(path, read_prompts(path), TEN).requests(endpoint, 1, (0, 0), False)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (Source(prompts=Path("a"), trace=Path("b")), "two workloads"),
        (Source(turns=2), "take --endpoint chat"),
        (Source(prompts=Path("a"), input_tokens="5"), "as long as they are"),
        (Source(trace=Path("a"), output_tokens="5"), "has its own lengths"),
        (Source(tokenizer=Path("nowhere")), r"name a tokenizer\.json"),
    ],
)
async def test_sources_that_do_not_go_together_say_what_to_do(source: Source, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        await source.workload(COMPLETIONS)


def test_a_tokenizer_is_found_in_its_directory(tmp_path: Path) -> None:
    save_word_tokenizer(tmp_path / "tokenizer.json")
    assert read_vocabulary(tmp_path).ids == read_vocabulary(tmp_path / "tokenizer.json").ids
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is no tokenizer\.json"):
        read_vocabulary(tmp_path / "other.json")
