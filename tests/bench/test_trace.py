from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.infinite_cache import infinite_hit_rate
from pennyweight.bench.load.replay import TraceWorkload
from pennyweight.bench.load.trace import TraceRow, mean_rate, part, read_trace
from pennyweight.bench.load.vocabulary import Vocabulary

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"
MOONCAKE = TRACES / "mooncake_fast25_conversation.jsonl.gz"
AZURE = TRACES / "azure_llm_2023_conv.csv.gz"
VOCABULARY = Vocabulary({number: f"word{number}" for number in range(100, 1100)})
ENDPOINT = Endpoint("http://127.0.0.1:1", "m")


def workload(rows: list[TraceRow], **more: int | float) -> TraceWorkload:
    return TraceWorkload(path=Path("trace"), rows=rows, vocabulary=VOCABULARY, **more)  # type: ignore[arg-type]


def prompts(found: TraceWorkload, seed: int = 0) -> list[list[int]]:
    return [one.body["prompt"] for one in found.requests(ENDPOINT, len(found.rows), (seed, 0), True)]


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "a.csv",
            "arrival_s,input_tokens,output_tokens\n0.5,374,44\n4.315,396,0\n",
            [TraceRow(0.5, 374, 44), TraceRow(4.315, 396, 1)],
        ),
        (
            "b.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:04.1234567,5,6\n2023-11-16 18:17:03.9799600,4808,10\n",
            [TraceRow(0.0, 4808, 10), TraceRow(0.143496, 5, 6)],
        ),
        (
            "c.jsonl",
            '{"timestamp": 27482, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]}\n',
            [TraceRow(27.482, 600, 52, (46, 47))],
        ),
        ("d.jsonl", '\n{"t":3000,"i":10,"o":5,"h":[0]}\n', [TraceRow(3.0, 10, 5, (0,))]),
    ],
)
def test_each_format_is_told_by_its_names(name: str, text: str, rows: list[TraceRow], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    zipped = tmp_path / f"{name}.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    found = read_trace(path)
    assert read_trace(zipped) == found
    begin = found[0].at if name == "b.csv" else 0.0
    for one, expected in zip(found, rows, strict=True):
        assert one.at - begin == pytest.approx(expected.at, abs=1e-5)
        assert (one.input_tokens, one.output_tokens, one.blocks) == (
            expected.input_tokens,
            expected.output_tokens,
            expected.blocks,
        )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "when,long\n1,2\n", "has columns when, long, and none of: arrival_s"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,2,3\nx,2,3\n", "row 2: .*'x'"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n1,2\n", "row 1"),
        ("a.jsonl", "{\n", "line 1 is no JSON"),
        ("a.jsonl", "[]\n", "line 1 is no object"),
        ("a.jsonl", '{"t":1,"i":1,"o":1,"h":5}\n', "no list of blocks"),
        ("a.csv", "", "has no requests"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_the_place(
    name: str, text: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_trace(tmp_path / name)


def test_a_part_begins_at_zero() -> None:
    rows = [TraceRow(10.0 + at, at, 1) for at in range(10)]
    assert [(row.at, row.input_tokens) for row in part(rows, skip=2, limit=3)] == [(0, 2), (1, 3), (2, 4)]
    assert [row.input_tokens for row in part(rows, begin=4, seconds=3)] == [4, 5, 6]
    with pytest.raises(ValueError, match="10 requests in 9 s, and none in that part"):
        part(rows, skip=10)


def test_times_are_stretched_to_a_rate() -> None:
    rows = [TraceRow(0.0, 1, 1), TraceRow(1.0, 1, 1), TraceRow(4.0, 1, 1)]
    found = workload(rows)
    assert mean_rate(rows) == 0.75
    assert found.times_at(0.75) == [0.0, 1.0, 4.0]
    assert found.times_at(1.5) == [0.0, 0.5, 2.0]


def test_the_same_block_is_the_same_tokens_and_another_is_others() -> None:
    rows = [TraceRow(0, 1100, 5, (1, 2, 3)), TraceRow(1, 1536, 5, (1, 2, 4)), TraceRow(2, 600, 5, (7, 8))]
    found = workload(rows, block_tokens=32)
    first, second, third = prompts(found)
    # Of the last block 76 and 88 of 512 tokens are there: 5 and 6 of 32.
    assert [len(first), len(second), len(third)] == [32 + 32 + 5, 96, 32 + 6]
    assert first[:64] == second[:64]
    assert first[64:] != second[64:69]
    assert third[:32] not in (first[:32], first[32:64])
    assert prompts(found) == [first, second, third]
    assert prompts(found, seed=1)[0] != first
    texts = [one.body["messages"][0]["content"] for one in found.requests(Endpoint("", "m", "chat"), 3, (0, 0), True)]
    assert texts[0] == VOCABULARY.text(first)


def test_lengths_are_scaled_and_cut() -> None:
    found = workload([TraceRow(0, 1000, 100)], input_scale=0.5, output_scale=0.25, most_input=300, most_output=20)
    [request] = found.requests(ENDPOINT, 1, (0, 0), True)
    assert (len(request.body["prompt"]), request.body["max_tokens"], request.body["ignore_eos"]) == (300, 20, True)
    assert (request.prompt_tokens, request.output_tokens) == (300, 20)


def test_a_cache_without_end_hits_what_came_before_in_the_same_place() -> None:
    found = infinite_hit_rate([((1, 2), (10, 5)), ((1, 3), (10, 5)), ((4, 2), (10, 5)), ((1, 2), (10, 5))])
    # 2 after 4 is no hit of the 2 after 1: a prefix ends at its first miss.
    assert (found.blocks, found.tokens) == (3 / 8, 25 / 60)


def test_a_cut_prompt_is_cut_for_the_infinite_cache_too() -> None:
    rows = [TraceRow(0, 1024, 5, (1, 2)), TraceRow(1, 1024, 5, (1, 3))]
    found = workload(rows, block_tokens=10, most_input=12).infinite_cache()
    assert found is not None
    assert found.tokens == 10 / 24


@pytest.mark.skipif(not MOONCAKE.exists(), reason=f"the traces are not beside this checkout ({MOONCAKE})")
def test_the_mooncake_trace_has_its_published_reuse() -> None:
    rows = read_trace(MOONCAKE)
    assert len(rows) == 12031
    found = workload(rows, block_tokens=32).infinite_cache()
    assert found is not None
    assert found.blocks == pytest.approx(0.366, abs=0.002)
    assert found.tokens == pytest.approx(found.blocks, abs=0.02)


@pytest.mark.skipif(not AZURE.exists(), reason=f"the traces are not beside this checkout ({AZURE})")
def test_the_azure_trace_has_its_published_rate() -> None:
    rows = part(read_trace(AZURE))
    assert len(rows) == 19366
    assert mean_rate(rows) == pytest.approx(5.5, abs=0.1)


def test_description_says_what_was_replayed() -> None:
    said = json.dumps(workload([TraceRow(0, 600, 5, (7, 8)), TraceRow(1, 600, 5, (7, 8))]).describe(), default=str)
    assert '"infinite_cache": {"blocks": 0.5, "tokens": 0.5}' in said
