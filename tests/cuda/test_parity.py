"""On CUDA: each family and precision against transformers, recorded decode steps against eager ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.real_model import TieJudge, chat_prompts, load_oracle, next_logits
from fakes.tiny_models import FAMILIES, VOCAB_SIZE, dense, make_core, random_prompt, run, save_tiny_model, submit

PROMPTS = {"short": random_prompt(5, 1), "long": random_prompt(150, 2), "middle": random_prompt(23, 3)}
ASKED = {"logprobs": VOCAB_SIZE, "prompt_logprobs": VOCAB_SIZE}
BOUNDS = {"float32": 2e-3, "bfloat16": 0.05, "int8": 0.1}


@pytest.mark.parametrize("enforce_eager", [False, True])
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_logprobs_are_near_those_of_transformers(
    kind: str, dtype: str, enforce_eager: bool, device: str, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path, kind)
    core = make_core(tmp_path, device=device, dtype=dtype, enforce_eager=enforce_eager)
    for name, prompt in PROMPTS.items():
        submit(core, name, prompt, 20, **ASKED)
    for name, answer in run(core).items():
        tokens = torch.tensor([PROMPTS[name] + answer.token_ids])
        with torch.inference_mode():
            expected = model(tokens).logits[0].log_softmax(dim=-1)
        off = (dense(answer.prompt_logprobs + answer.logprobs) - expected[:-1]).abs()
        assert off.mean() < BOUNDS[dtype]
        assert dtype != "float32" or off.max() < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_real_model_is_near_transformers(
    dtype: str,
    device: str,
    default_model: Path,
    prompts: list[dict[str, Any]],
    report: Callable[[str], None],
) -> None:
    asked = chat_prompts(default_model, prompts, 20, 400)
    core = make_core(
        default_model, device=device, dtype=dtype, max_num_seqs=32, max_num_batched_tokens=512, kv_cache_memory=1 << 30
    )
    for number, prompt in enumerate(asked):
        submit(core, str(number), prompt, 64, logprobs=0)
    answers = run(core)
    oracle = load_oracle(default_model, torch.float32).to(device)
    judge, differences = TieJudge(default_model), []
    for number, prompt in enumerate(asked):
        answer = answers[str(number)]
        logits = next_logits(oracle, prompt, answer.token_ids).cpu()
        if dtype == "float32":
            judge.check(str(number), prompt, answer.token_ids, logits.argmax(dim=-1).tolist())
        expected = logits.log_softmax(dim=-1).gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        differences.append(torch.tensor([one.logprob for one in answer.logprobs]) - expected)
    off = torch.cat(differences).abs()
    report(
        f"{device}, {dtype}: mean |logprob difference| from transformers float32 {off.mean():.2e}, largest {off.max():.2e}, "
        f"over {len(off)} greedy tokens" + (f"; {len(judge.ties)} ties" if dtype == "float32" else "")
    )
    assert off.mean() < {"float32": 1e-3, "bfloat16": 0.05, "int8": 0.3}[dtype]
