"""A request's logits hashes are its own: no neighbour, chunk, prefix cache or preemption has a part in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_models import Answer, make_core, random_prompt, run, save_tiny_model, submit

from pennyweight.kernels.cpu.library import load_library
from pennyweight.server.engines.native.engine import NativeEngineCore

# 2 layers with 2 heads of 16 in bfloat16, keys and values, 16 tokens to a block.
BLOCK = 2 * 2 * 2 * 16 * 16 * 2
PROMPT = random_prompt(70, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_tiny_model(path, "llama")
    return path


def ask(core: NativeEngineCore, **choice: Any) -> None:
    submit(core, "asked", PROMPT, 20, hash_logits=True, **choice)


def alone(model: Path, dtype: str, **choice: Any) -> Answer:
    core = make_core(model, dtype=dtype)
    ask(core, **choice)
    return run(core)["asked"]


needs_kernels = pytest.mark.skipif(load_library() is None, reason="PyTorch's sums depend on the batch")


@needs_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float32"])
def test_company_chunks_and_threads_leave_the_hashes_as_they_are(model: Path, dtype: str) -> None:
    wanted = alone(model, dtype)
    assert len(wanted.logits_hashes) == 8 * 20
    core = make_core(model, dtype=dtype, threads=2, max_num_batched_tokens=8)
    for number in range(7):
        submit(core, f"r{number}", PROMPT[: 30 + number] + random_prompt(20, seed=number), 15)
    ask(core)
    assert run(core)["asked"] == wanted


@needs_kernels
def test_preemption_and_the_prefix_cache_leave_the_hashes_as_they_are(model: Path) -> None:
    wanted = alone(model, "bfloat16")
    core = make_core(model, dtype="bfloat16", kv_cache_memory=9 * BLOCK)
    for number in range(3):
        submit(core, f"r{number}", random_prompt(30, seed=number), 40)
    ask(core)
    assert run(core)["asked"] == wanted
    assert core.scheduler.num_preemptions > 0
    core = make_core(model, dtype="bfloat16")
    submit(core, "before", PROMPT, 3)
    run(core)
    ask(core)
    assert run(core)["asked"] == wanted
    assert core.scheduler.prefix_hits >= 64


def test_the_hash_is_of_the_models_own_logits(model: Path) -> None:
    """Of which a bias and a penalty make other ones afterwards, from the token on that they change."""
    plain = alone(model, "float32")
    biased = alone(model, "float32", logit_bias={plain.token_ids[0]: -100.0})
    assert biased.token_ids[0] != plain.token_ids[0]
    assert biased.logits_hashes[:8] == plain.logits_hashes[:8]
    assert biased.logits_hashes[8:16] != plain.logits_hashes[8:16]


def test_who_does_not_ask_is_told_none(model: Path) -> None:
    core = make_core(model)
    submit(core, "silent", PROMPT, 4)
    ask(core)
    answers = run(core)
    assert answers["silent"].logits_hashes == b""
    assert len(answers["asked"].logits_hashes) == 8 * 20
