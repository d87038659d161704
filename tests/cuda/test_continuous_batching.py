"""On CUDA: in any company a request gets what it gets alone, but for ties; and the block manager keeps its books."""

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
from fakes.tiny_models import make_core, random_prompt, save_tiny_model

TINY_BLOCK = 2 * 2 * 2 * 16 * 16 * 4
REAL_BLOCK = 2 * 30 * 3 * 64 * 16 * 4


def assert_same(
    path: Path, requests: list[MixedRequest], answers: dict[str, list[int]], alone: dict[str, list[int]]
) -> TieJudge:
    judge = TieJudge(path)
    for one in requests:
        if one.name in answers:
            judge.check(one.name, one.prompt, answers[one.name], alone[one.name])
    return judge


@pytest.mark.parametrize("blocks", [30, 2000])
@pytest.mark.parametrize("enforce_eager", [False, True])
def test_tiny_requests_at_once_get_what_each_gets_alone(
    blocks: int, enforce_eager: bool, device: str, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path, "llama-tied")
    requests = [
        MixedRequest(f"r{number}", random_prompt(2 + 7 * number % 120, number), 1 + 11 * number % 60)
        for number in range(40)
    ]
    changes = {"device": device, "enforce_eager": enforce_eager}
    alone = run_alone(make_core(tmp_path, enable_prefix_caching=False, **changes), requests)
    core = make_core(tmp_path, kv_cache_memory=blocks * TINY_BLOCK, **changes)
    answers = run_together(core, requests)
    assert answers.keys() == alone.keys()
    assert_same(tmp_path, requests, answers, alone)
    assert (core.scheduler.num_preemptions > 0) == (blocks == 30)
    assert_at_baseline(core)


def test_cancels_leave_the_others_and_the_books_as_they_were(device: str, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama-tied")
    requests = [
        MixedRequest(f"r{number}", random_prompt(2 + 7 * number % 120, number), 1 + number % 50)
        for number in range(200)
    ]
    core = make_core(tmp_path, device=device, kv_cache_memory=30 * TINY_BLOCK)
    answers, cancelled = cancel_at_random(core, requests, 0.6, seed=1)
    assert cancelled > 50
    assert len(answers) == len(requests) - cancelled
    assert_at_baseline(core)


@pytest.mark.timeout(900)
def test_64_real_requests_at_once_get_what_each_gets_alone(
    device: str, default_model: Path, prompts: list[dict[str, Any]], report: Callable[[str], None]
) -> None:
    requests = mixed_requests(default_model, prompts, 64, prompt=(10, 1500), output=(1, 200))
    changes = {"device": device, "max_num_seqs": 64, "max_num_batched_tokens": 2048, "kv_cache_memory": 2 << 30}
    alone = run_alone(make_core(default_model, enable_prefix_caching=False, **changes), requests)
    for memory in (2 << 30, 150 * REAL_BLOCK):
        core = make_core(default_model, **(changes | {"kv_cache_memory": memory}))
        answers = run_together(core, requests)
        assert answers.keys() == alone.keys()
        judge = assert_same(default_model, requests, answers, alone)
        assert_at_baseline(core)
        report(
            f"continuous batching on {device}, float32, {core.blocks.num_blocks} blocks, "
            f"{core.scheduler.num_preemptions} preemptions: {len(requests) - len(judge.ties)} of {len(requests)} equal, "
            f"{len(judge.ties)} differ first at a tie"
        )
