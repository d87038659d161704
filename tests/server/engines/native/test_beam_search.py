"""Beam search on the engine's core: transformers' answers, whatever is beside it and however short of memory it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.beams import Found, found, run_all, search_with_transformers, submit_beams
from fakes.real_model import chat_prompts, load_oracle
from fakes.tiny_models import Answer, make_core, random_prompt, save_tiny_model, step, submit
from transformers import PreTrainedModel

from pennyweight.server.engines.local.messages import Progress
from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.engines.native.batch import PositionLogprobs
from pennyweight.server.engines.native.beam_search import Beams
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.types import BeamSearch, FinishReason

# Keys and values of 2 layers with 2 heads of 16, 16 tokens to a block.
BYTES_PER_BLOCK = 2 * 2 * 2 * 16 * 16 * 4
VARIANTS = [
    BeamSearch(width=width, length_penalty=length_penalty, early_stopping=early_stopping)
    for width, (length_penalty, early_stopping) in itertools.product(
        (2, 4, 7), [(1.0, False), (0.6, True), (2.0, "never"), (2.0, False), (0.0, "never"), (-0.5, False)]
    )
]
# Of a vocabulary of 251 so many that most answers end by themselves, some at once.
ENDS = tuple(range(2, 251, 20))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    path = tmp_path_factory.mktemp("llama")
    return path, save_tiny_model(path, "llama")


def assert_same(ours: list[Found], theirs: list[Found]) -> float:
    """Raise AssertionError unless the answers are equal and the scores to 1e-4, or for larger ones to 2e-5 of them.

    Returns the largest difference of two scores.
    """
    assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
    expected = [one.score for one in theirs]
    assert [one.score for one in ours] == pytest.approx(expected, abs=1e-4, rel=2e-5)
    return max(abs(one.score - score) for one, score in zip(ours, expected, strict=True))


@pytest.mark.parametrize("ends", [(), (2,), ENDS], ids=["no-end", "one-end", "many-ends"])
def test_searches_equal_those_of_transformers(ends: tuple[int, ...], tiny: tuple[Path, PreTrainedModel]) -> None:
    path, model = tiny
    core = make_core(path, max_num_seqs=64, max_num_batched_tokens=64)
    for number, wanted in enumerate(VARIANTS):
        submit_beams(core, str(number), random_prompt(3 + 5 * number, number), 14, wanted, ends=ends)
    answers = run_all(core)
    for number, wanted in enumerate(VARIANTS):
        theirs = search_with_transformers(model, random_prompt(3 + 5 * number, number), 14, wanted, ends=ends)
        assert_same(found(answers[str(number)]), theirs)
        for one in answers[str(number)]:
            ended = one.token_ids[-1] in ends
            assert one.finish_reason is (FinishReason.STOP if ended else FinishReason.LENGTH)
            assert one.stop_token_id == (one.token_ids[-1] if ended else None)
            assert ended or len(one.token_ids) == 14
    assert core.blocks.num_free == core.blocks.num_blocks


@pytest.mark.parametrize("isa", ["compiled", "torch"])
@pytest.mark.parametrize("kv_cache_dtype", ["auto", "int8"])
def test_forks_have_what_their_parents_have(
    isa: str, kv_cache_dtype: str, tiny: tuple[Path, PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With copied blocks the same as with blocks that are computed again, one beam at a time."""
    path, _ = tiny
    if isa == "torch":
        monkeypatch.setattr("pennyweight.kernels.dispatch.load_library", lambda: None)
    wanted = BeamSearch(width=4)
    answers = []
    for max_num_seqs in (8, 1):
        core = make_core(path, max_num_seqs=max_num_seqs, kv_cache_dtype=kv_cache_dtype)
        submit_beams(core, "r", random_prompt(20, 1), 16, wanted, ends=ENDS[:3], logprobs=3)
        answers.append(found(run_all(core)["r"]))
        assert (core.scheduler.num_preemptions > 0) == (max_num_seqs == 1)
    assert_same(*answers)


def searches(path: Path, *, beside: bool = False, **changes: Any) -> tuple[NativeEngineCore, dict[str, list[Progress]]]:
    """Six searches at once, beside other requests or not."""
    core = make_core(path, **changes)
    for number in range(6):
        wanted = BeamSearch(width=2 + number % 4, length_penalty=0.5 * number)
        prompt = random_prompt(5 + 9 * number, number)
        submit_beams(
            core,
            str(number),
            prompt,
            30,
            wanted,
            ends=ENDS[:2],
            logprobs=number % 3,
            hash_logits=True,
            arrival=number,
        )
        if beside:
            submit(core, f"beside{number}", random_prompt(7 * number + 3, 50 + number), 40)
    return core, run_all(core)


@pytest.fixture(scope="module")
def alone(tiny: tuple[Path, PreTrainedModel]) -> dict[str, list[Progress]]:
    return searches(tiny[0], max_num_seqs=64, max_num_batched_tokens=256, kv_cache_memory=64 << 20)[1]


def answers_of(answers: dict[str, list[Progress]]) -> dict[str, list[tuple[Any, ...]]]:
    """Everything of the searches that must not depend on the company, to the bit."""
    return {
        name: [
            (one.index, one.token_ids, one.finish_reason, one.beam_score, one.logprobs, one.logits_hashes)
            for one in choices
        ]
        for name, choices in answers.items()
        if not name.startswith("beside")
    }


@pytest.mark.parametrize("num_blocks", [500, 17])
@pytest.mark.parametrize("max_num_seqs", [64, 8, 2])
@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_neighbours_and_preemption_change_no_bit(
    num_blocks: int,
    max_num_seqs: int,
    enable_prefix_caching: bool,
    tiny: tuple[Path, PreTrainedModel],
    alone: dict[str, list[Progress]],
) -> None:
    core, answers = searches(
        tiny[0],
        beside=True,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max(16, max_num_seqs),
        kv_cache_memory=num_blocks * BYTES_PER_BLOCK,
        enable_prefix_caching=enable_prefix_caching,
    )
    assert answers_of(answers) == answers_of(alone)
    assert core.blocks.num_free == core.blocks.num_blocks
    assert len(core._runner._free_rows) == max_num_seqs  # type: ignore[attr-defined]
    # Two can't hold all beams of one search at once, and 17 blocks not all that forks need.
    assert (core.scheduler.num_preemptions > 0) == (max_num_seqs == 2 or num_blocks == 17)


def test_one_beam_is_greedy(tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0])
    for number in range(6):
        prompt = random_prompt(10 + number, number)
        submit_beams(core, f"beam{number}", prompt, 20, BeamSearch(width=1), ends=ENDS, hash_logits=True)
        submit(core, f"greedy{number}", prompt, 20, stop_token_ids=frozenset(ENDS), hash_logits=True)
    answers = run_all(core)
    for number in range(6):
        (beam,) = answers[f"beam{number}"]
        greedy = answers[f"greedy{number}"]
        assert beam.finish_reason is greedy[-1].finish_reason
        assert beam.token_ids == [token_id for one in greedy for token_id in one.token_ids]
        assert beam.logits_hashes == b"".join(one.logits_hashes for one in greedy)
        assert len(beam.logits_hashes) == 8 * len(beam.token_ids)


def test_the_best_of_many_beams_can_be_had_alone(tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0])
    submit_beams(core, "all", random_prompt(9, 3), 12, BeamSearch(width=5), ends=ENDS)
    submit_beams(core, "best", random_prompt(9, 3), 12, BeamSearch(width=5), n=2, ends=ENDS)
    answers = run_all(core)
    assert found(answers["best"]) == found(answers["all"])[:2]


def test_a_first_token_may_end_every_answer(tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0])
    submit_beams(core, "ends", random_prompt(9, 3), 12, BeamSearch(width=3), ends=range(251))
    submit_beams(core, "length", random_prompt(9, 3), 1, BeamSearch(width=3), ends=(2,))
    answers = run_all(core)
    assert [one.token_ids for one in answers["ends"]] == [one.token_ids for one in answers["length"]]
    assert all(len(one.token_ids) == 1 and one.finish_reason is FinishReason.STOP for one in answers["ends"])
    assert {one.finish_reason for one in answers["length"]} <= {FinishReason.LENGTH, FinishReason.STOP}


def test_a_search_tells_when_it_has_begun(tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0])
    submit_beams(core, "r", random_prompt(40, 3), 12, BeamSearch(width=3))
    told = [core.step() for _ in range(3)]
    assert [len(one) for one in told] == [0, 1, 0]
    begun = told[1][0]
    assert (begun.index, begun.token_ids, begun.finish_reason) == (0, [], None)
    assert [one.index for one in run_all(core)["r"]] == [0, 1, 2]


def test_logprobs_are_the_tokens_own(tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0])
    submit_beams(core, "r", random_prompt(9, 3), 12, BeamSearch(width=3), ends=ENDS[:4], logprobs=2)
    for one in run_all(core)["r"]:
        assert [logprob.token_id for logprob in one.logprobs] == one.token_ids
        assert all(len(logprob.top_ids) == 2 for logprob in one.logprobs)
        assert one.beam_score is not None
        total = np.float32(0.0)
        for logprob in one.logprobs:
            total += np.float32(logprob.logprob)
        assert one.beam_score.cumulative_logprob == float(total)
        assert one.beam_score.score == pytest.approx(float(total) / len(one.token_ids))


@pytest.mark.parametrize("num_steps", range(0, 12, 2))
def test_a_search_that_is_dropped_leaves_nothing(num_steps: int, tiny: tuple[Path, PreTrainedModel]) -> None:
    core = make_core(tiny[0], max_num_seqs=4, kv_cache_memory=12 * BYTES_PER_BLOCK)
    submit_beams(core, "dropped", random_prompt(40, 3), 60, BeamSearch(width=5))
    submit(core, "stays", random_prompt(20, 4), 30)
    answers: dict[str, Answer] = {}
    for _ in range(num_steps):
        step(core, answers)
    core.abort("dropped")
    while core.has_work:
        step(core, answers)
    assert not answers.get("dropped", Answer()).token_ids
    assert len(answers["stays"].token_ids) == 30
    assert core.blocks.num_free == core.blocks.num_blocks
    assert "dropped" not in core._beam_groups


def test_equal_sums_are_ordered_by_beam_and_token() -> None:
    beams = Beams(BeamSearch(width=2), end_token_ids=(), max_tokens=9)
    tied = PositionLogprobs(-1.0, np.array([3, 5, 8, 9], np.int32), np.full(4, -1.0, np.float32))
    assert [one.token_id for one in beams.advance([tied], [0])] == [3, 5]
    assert [(one.origin, one.token_id) for one in beams.advance([tied, tied], [0, 0])] == [(0, 3), (0, 5)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_20_prompts_have_the_answers_of_transformers(
    default_model: Path, prompts: list[dict[str, Any]], report: Callable[[str], None]
) -> None:
    """2 to 4 minutes on two cores, nearly all of it transformers'."""
    asked = chat_prompts(default_model, prompts, 20, 100)
    model = load_oracle(default_model, torch.float32)
    ends = tuple(model.generation_config.eos_token_id)  # type: ignore[arg-type]
    # Every other one ends with a sentence or a line as well: few answers of this model have ended by themselves after 24 tokens.
    tokenizer = load_tokenizer(default_model)
    sentence = tuple(tokenizer.encode(text, add_special_tokens=False)[0] for text in (".", "\n", ":"))
    variants = [
        BeamSearch(width=4),
        BeamSearch(width=4, length_penalty=0.6, early_stopping=True),
        BeamSearch(width=4, length_penalty=2.0, early_stopping="never"),
        BeamSearch(width=4, length_penalty=-0.5),
        BeamSearch(width=4, length_penalty=0.0, early_stopping="never"),
    ]
    tasks = [
        (prompt, variants[number % len(variants)], ends + sentence * (number % 2))
        for number, prompt in enumerate(asked)
    ]
    core = make_core(default_model, threads=None, max_num_seqs=80, max_num_batched_tokens=512, kv_cache_memory=1 << 30)
    for number, (prompt, wanted, stops) in enumerate(tasks):
        submit_beams(core, str(number), prompt, 24, wanted, ends=stops)
    answers = run_all(core)
    off = 0.0
    for number, (prompt, wanted, stops) in enumerate(tasks):
        theirs = search_with_transformers(model, prompt, 24, wanted, ends=stops)
        off = max(off, assert_same(found(answers[str(number)]), theirs))
    lengths = [len(one.token_ids) for choices in answers.values() for one in choices]
    ended = sum(one.finish_reason is FinishReason.STOP for choices in answers.values() for one in choices)
    report(
        f"beam search against transformers, float32: {len(tasks)} prompts of {min(map(len, asked))} to "
        f"{max(map(len, asked))} tokens, 4 beams: all {len(lengths)} answers of {min(lengths)} to {max(lengths)} tokens equal, "
        f"{ended} of them ended by themselves; largest difference of two scores {off:.1e}"
    )
