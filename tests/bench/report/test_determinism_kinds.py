"""Results of record of the commands about determinism, as pages tell them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakes.bench_results import make_result, write_result

from pennyweight.bench.report.document import Story
from pennyweight.bench.report.kinds.registry import tell
from pennyweight.bench.report.stored import find_results
from pennyweight.bench.report.write import write_report

RECORDS = Path(__file__).parents[3] / "bench" / "results"


def record(name: str) -> Path:
    return RECORDS / f"2026-11-27-epyc-avx2-2-cores-{name}"


def story_of(directory: Path) -> Story:
    (stored,) = find_results([directory])
    return tell(stored)


def test_one_chain_of_logits_is_told_with_each_way_of_serving() -> None:
    story = story_of(record("determinism"))
    assert story.answers == (
        "int8, own kernels, bitwise: 1,500 completions of one prompt among other work gave one answer, and the same bits of all logits.",
    )
    assert [(one.name, one.value) for one in story.key_figures] == [("different logits in bitwise", 1)]
    (ways,) = story.tables
    assert ways.rows[4] == (
        *("2 threads, chunks of 512, prefix cache, 24MiB of KV", "int8", "own, bitwise"),
        *("100", "1", "1", "188"),
    )


def test_different_ones_are_told_with_where_they_part(tmp_path: Path) -> None:
    data: dict[str, Any] = json.loads((record("determinism") / "result.json").read_text())["data"]
    data["wholes"][0] |= {"kernels": "torch", "mode": "off"}
    data["wholes"][0]["found"] |= {"unique_answers": 3, "unique_logits": 18, "first_divergent_logits": 7}
    story = story_of(write_result(tmp_path, make_result("determinism", data)))
    assert story.answers == (
        "int8, PyTorch's kernels, off: 1,500 completions of one prompt among other work gave 3 different answers and 18 chains of logits, "
        "the first of them from token 7 on.",
    )
    assert story.key_figures == ()


def test_a_cost_is_that_against_the_fastest_way() -> None:
    story = story_of(record("determinism-cost"))
    assert story.answers[2] == (
        "bfloat16: bitwise loses 0 % of the fastest way's speed with one stream (bitwise) and 1.2 % with 32 (off), in the median of the rounds."
    )
    assert [one.name for one in story.figures][1:3] == ["speed-bfloat16-alone", "speed-bfloat16-together"]
    assert story.tables[-1].rows[-1] == ("off, torch", "int8", "–", "–")


def test_a_recording_tells_what_was_promised_and_what_it_takes(tmp_path: Path) -> None:
    story = story_of(record("recording"))
    assert story.answers[0].startswith(
        "Of 10,000 requests 9,968 were answered, and 32 cut off when the server was killed;"
    )
    assert story.answers[1] == "0 of those acknowledged are in no file; a record takes 2.59 KiB."
    story = story_of(record("recording-overhead"))
    assert story.answers[-1] == (
        "Recording takes 0 % of the throughput in the median of 9 rounds (-6.4 % to 3.5 %), and adds 0.1 % of CPU time."
    )
    assert [one.name for one in story.figures] == ["kept", "overhead"]
    assert len(story.tables[-1].rows) == 9


def test_they_have_pages(tmp_path: Path) -> None:
    names = ("determinism-cost", "recording-overhead")
    text = write_report([record(name) for name in names], tmp_path).read_text()
    assert "Different chains of logits" in text
    assert "Throughput with recording" in text
