"""The default model against transformers: greedy choices in float32, and how far each precision's logprobs are off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.real_model import TieJudge, chat_prompts, load_oracle, next_logits
from fakes.tiny_models import make_core, run, submit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NUM_PROMPTS = 50
NUM_TOKENS = 64
LONGEST = 400
# Of the mean |logprob difference| of the greedy tokens. Measured: 3.7e-6, 6.6e-3 and 0.11.
BOUNDS = {"float32": 5e-5, "bfloat16": 0.02, "int8": 0.2}


@pytest.fixture(scope="module")
def asked(default_model: Path, prompts: list[dict[str, Any]]) -> list[list[int]]:
    return chat_prompts(default_model, prompts, NUM_PROMPTS, LONGEST)


@pytest.fixture(scope="module")
def greedy(default_model: Path, asked: list[list[int]]) -> list[list[int]]:
    """The engine's float32 answers, all of them computed side by side."""
    core = make_real_core(default_model, "float32")
    for number, prompt in enumerate(asked):
        submit(core, str(number), prompt, NUM_TOKENS)
    answers = run(core)
    return [answers[str(number)].token_ids for number in range(len(asked))]


@pytest.fixture(scope="module")
def oracle_logits(default_model: Path, asked: list[list[int]], greedy: list[list[int]]) -> list[torch.Tensor]:
    """transformers' float32 logits for every token of the answers: each equals its own choice as long as all before did."""
    model = load_oracle(default_model, torch.float32)
    return [next_logits(model, prompt, output) for prompt, output in zip(asked, greedy, strict=True)]


def make_real_core(path: Path, dtype: str) -> Any:
    return make_core(
        path, dtype=dtype, threads=None, max_num_seqs=64, max_num_batched_tokens=512, kv_cache_memory=1 << 30
    )


def test_greedy_answers_equal_those_of_transformers(
    default_model: Path,
    asked: list[list[int]],
    greedy: list[list[int]],
    oracle_logits: list[torch.Tensor],
    report: Callable[[str], None],
) -> None:
    judge = TieJudge(default_model)
    for number, (prompt, output, logits) in enumerate(zip(asked, greedy, oracle_logits, strict=True)):
        assert len(output) == NUM_TOKENS
        judge.check(str(number), prompt, output, logits.argmax(dim=-1).tolist())
    report(
        f"greedy parity with transformers, float32: {NUM_PROMPTS} prompts of {min(map(len, asked))} to "
        f"{max(map(len, asked))} tokens, {NUM_TOKENS} chosen for each; {NUM_PROMPTS - len(judge.ties)} equal throughout, "
        f"{len(judge.ties)} differ first at a tie {judge.ties or ''}"
    )


@pytest.mark.parametrize("dtype", BOUNDS)
def test_logprobs_are_near_those_of_transformers(
    dtype: str,
    default_model: Path,
    asked: list[list[int]],
    greedy: list[list[int]],
    oracle_logits: list[torch.Tensor],
    report: Callable[[str], None],
) -> None:
    core = make_real_core(default_model, dtype)
    for number, (prompt, output) in enumerate(zip(asked, greedy, strict=True)):
        submit(core, str(number), prompt + output, 0, prompt_logprobs=0)
    answers = run(core)
    differences = []
    for number, (output, logits) in enumerate(zip(greedy, oracle_logits, strict=True)):
        scored = answers[str(number)].prompt_logprobs[-NUM_TOKENS:]
        assert [one.token_id for one in scored] == output
        expected = logits.log_softmax(dim=-1).gather(1, torch.tensor(output)[:, None])[:, 0]
        differences.append(torch.tensor([one.logprob for one in scored]) - expected)
    difference = torch.cat(differences)
    off = difference.abs()
    report(
        f"logprobs against transformers float32, {dtype}: mean |difference| {off.mean():.2e} (mean {difference.mean():+.2e}), "
        f"99th percentile {off.quantile(0.99):.2e}, largest {off.max():.2e}, over {len(off)} tokens"
    )
    assert off.mean() < BOUNDS[dtype]
