"""Continuous batching with models that compute: in any company the tokens of a request are those that it gets alone.

The bookkeeping itself is tested over a toy model in test_engine.py, chunks and small preemptions in test_model_runner.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.mixed_requests import (
    MixedRequest,
    assert_at_baseline,
    cancel_at_random,
    mixed_requests,
    run_alone,
    run_together,
)
from fakes.real_model import TieJudge
from fakes.tiny_models import make_core, random_prompt, save_tiny_model, submit

from pennyweight.server.engines.native.engine import NativeEngineCore

# 2 layers with 2 heads of 16 in float32, keys and values, 16 tokens to a block.
TINY_BLOCK = 2 * 2 * 2 * 16 * 16 * 4
# 30 layers with 3 heads of 64.
REAL_BLOCK = 2 * 30 * 3 * 64 * 16 * 4
NUM_CANCELS = 1000


def make_real_core(path: Path, **changes: Any) -> NativeEngineCore:
    options = {"threads": None, "max_num_seqs": 64, "max_num_batched_tokens": 512, "kv_cache_memory": 2 << 30}
    return make_core(path, **(options | changes))


@pytest.fixture(scope="module")
def requests(default_model: Path, prompts: list[dict[str, Any]]) -> list[MixedRequest]:
    return mixed_requests(default_model, prompts, 64, prompt=(10, 1500), output=(1, 200))


@pytest.fixture(scope="module")
def small_requests(requests: list[MixedRequest]) -> list[MixedRequest]:
    return [one for one in requests if len(one.prompt) <= 400][:24]


@pytest.fixture(scope="module")
def growing_requests(requests: list[MixedRequest]) -> list[MixedRequest]:
    """Short prompts with long answers: many are let in, and outgrow a small cache."""
    return sorted((one for one in requests if len(one.prompt) <= 200), key=lambda one: -one.max_tokens)[:16]


@pytest.fixture(scope="module")
def alone(default_model: Path, requests: list[MixedRequest]) -> dict[str, list[int]]:
    return run_alone(make_real_core(default_model, enable_prefix_caching=False), requests)


def assert_same(
    path: Path, requests: list[MixedRequest], answers: dict[str, list[int]], alone: dict[str, list[int]], kernels: str
) -> int:
    """The number of ties. The CPU's own kernels must have none: their sums don't depend on the batch."""
    assert answers.keys() <= alone.keys()
    if kernels == "cpu":
        assert answers == {name: alone[name] for name in answers}
        return 0
    judge = TieJudge(path)
    for one in requests:
        if one.name in answers:
            judge.check(one.name, one.prompt, answers[one.name], alone[one.name])
    return len(judge.ties)


def kernels_of(core: NativeEngineCore) -> str:
    fingerprint: dict[str, str] = core._runner.fingerprint()  # type: ignore[attr-defined]
    return fingerprint["kernels"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestRealModel:
    def test_64_requests_at_once_get_what_each_gets_alone(
        self,
        default_model: Path,
        requests: list[MixedRequest],
        alone: dict[str, list[int]],
        report: Callable[[str], None],
    ) -> None:
        core = make_real_core(default_model)
        answers = run_together(core, requests)
        assert {name: len(tokens) for name, tokens in answers.items()} == {one.name: one.max_tokens for one in requests}
        ties = assert_same(default_model, requests, answers, alone, kernels_of(core))
        assert_at_baseline(core)
        prompt_lengths = [len(one.prompt) for one in requests]
        report(
            f"continuous batching, float32, {kernels_of(core)} kernels: {len(requests)} requests at once (prompts of "
            f"{min(prompt_lengths)} to {max(prompt_lengths)} tokens, outputs of 1 to 200) against one by one: "
            f"{len(requests) - ties} equal, {ties} differ first at a tie"
        )

    def test_a_cache_too_small_for_them_preempts_and_changes_no_token(
        self,
        default_model: Path,
        growing_requests: list[MixedRequest],
        alone: dict[str, list[int]],
        report: Callable[[str], None],
    ) -> None:
        core = make_real_core(default_model, kv_cache_memory=40 * REAL_BLOCK)
        answers = run_together(core, growing_requests)
        assert len(answers) == len(growing_requests)
        assert core.scheduler.num_preemptions >= 3
        ties = assert_same(default_model, growing_requests, answers, alone, kernels_of(core))
        assert_at_baseline(core)
        needed = sum(-(-(len(one.prompt) + one.max_tokens) // 16) for one in growing_requests)
        report(
            f"preemption, float32: {len(growing_requests)} requests that need {needed} blocks, in {core.blocks.num_blocks}: "
            f"{core.scheduler.num_preemptions} preemptions, {len(answers) - ties} equal, {ties} ties"
        )

    def test_cancels_leave_the_others_and_the_books_as_they_were(
        self, default_model: Path, small_requests: list[MixedRequest], alone: dict[str, list[int]]
    ) -> None:
        core = make_real_core(default_model)
        answers, cancelled = cancel_at_random(core, small_requests, 0.5, seed=2)
        assert cancelled > 5
        assert len(answers) == len(small_requests) - cancelled
        assert_same(default_model, small_requests, answers, alone, kernels_of(core))
        assert_at_baseline(core)

    @pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
    def test_lower_precisions_get_the_same_tokens_in_any_company(
        self, dtype: str, default_model: Path, small_requests: list[MixedRequest]
    ) -> None:
        core = make_real_core(default_model, dtype=dtype)
        if kernels_of(core) != "cpu":
            pytest.skip("only the CPU's own kernels promise the same bits in any batch")
        together = run_together(core, small_requests)
        one_by_one = make_real_core(default_model, dtype=dtype, enable_prefix_caching=False)
        assert together == run_alone(one_by_one, small_requests)
        assert_at_baseline(core)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    save_tiny_model(path, "llama-tied")
    return path


def test_a_thousand_cancels_at_any_moment_leave_nothing_behind(tiny_model: Path) -> None:
    requests = [
        MixedRequest(f"r{number}", random_prompt(2 + 7 * number % 120, number % 40), 1 + number % 50)
        for number in range(2 * NUM_CANCELS)
    ]
    # Too small for eight of the longest, so that some are cancelled between a preemption and their return.
    core = make_core(tiny_model, kv_cache_memory=30 * TINY_BLOCK)
    answers, cancelled = cancel_at_random(core, requests, 0.6, seed=1)
    assert cancelled >= NUM_CANCELS
    assert core.scheduler.num_preemptions > 0
    assert_at_baseline(core)
    left = [one for one in requests if one.name in answers]
    assert len(left) == len(requests) - cancelled
    assert {one.name: len(answers[one.name]) for one in left} == {one.name: one.max_tokens for one in left}
    sample = left[::20]
    expected = run_alone(make_core(tiny_model, enable_prefix_caching=False), sample)
    assert {one.name: answers[one.name] for one in sample} == expected


def test_a_cancel_frees_its_blocks_before_the_next_step(tiny_model: Path) -> None:
    core = make_core(tiny_model, enable_prefix_caching=False)
    requests = [MixedRequest(name, random_prompt(60, seed), 40) for seed, name in enumerate("abc")]
    for one in requests:
        submit(core, one.name, one.prompt, one.max_tokens)
    for _ in range(3):  # 32 tokens a step: the first decodes, the second is within its prompt, the third waits
        core.step()
    assert (len(core.scheduler.running), len(core.scheduler.waiting)) == (2, 1)
    for name in "abc":
        held = sum(len(one.block_table) for one in core.scheduler.sequences() if one.request_id == name)
        free = core.blocks.num_free
        core.abort(name)
        assert core.blocks.num_free == free + held
    assert core.blocks.num_free == core.blocks.num_blocks
