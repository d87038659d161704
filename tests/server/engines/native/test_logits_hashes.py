"""A request's logits hashes are its own: no neighbour, chunk, prefix cache, thread or preemption has a part in them.

Nor in its choices and logprobs, whatever it asks for. What holds between processes is tested in tests/server/test_determinism.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import describe, save_adapter
from fakes.quantised_checkpoint import quantise_checkpoint
from fakes.tiny_models import Answer, make_core, random_prompt, run, save_tiny_model, submit

from pennyweight.kernels.cpu.library import load_library
from pennyweight.kernels.quantised import Scheme
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.types import Adapter

# 2 layers with 2 heads of 16 in bfloat16, keys and values, 16 tokens to a block.
BLOCK = 2 * 2 * 2 * 16 * 16 * 2
PROMPT = random_prompt(70, seed=1)
NUM_TOKENS = 20
# Logprobs of everything, and a choice that goes through every adjustment.
ASKED: dict[str, Any] = {
    "logprobs": 5,
    "prompt_logprobs": 3,
    "temperature": 0.8,
    "top_p": 0.95,
    "top_k": 40,
    "min_p": 0.01,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.2,
    "presence_penalty": 0.1,
    "logit_bias": {7: 1.5, 8: -3.0},
    "min_tokens": 5,
    "suppress": (2,),
}

needs_kernels = pytest.mark.skipif(load_library() is None, reason="PyTorch's sums depend on the batch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_tiny_model(path, "llama")
    return path


def ask(core: NativeEngineCore, adapter: Adapter | None = None, **choice: Any) -> None:
    submit(core, "asked", PROMPT, NUM_TOKENS, seed=11, adapter=adapter, hash_logits=True, **choice)


def alone(
    path: Path, *, adapter: Adapter | None = None, choice: dict[str, Any] | None = None, **settings: Any
) -> Answer:
    core = make_core(path, **settings)
    ask(core, adapter, **(choice or {}))
    return run(core)["asked"]


def assert_its_own(path: Path, adapter: Adapter | None = None, **settings: Any) -> None:
    """The same by one thread and by three, in chunks, in company that comes and goes, and after a hit in the prefix cache."""
    wanted = alone(path, adapter=adapter, choice=ASKED, **settings)
    assert len(wanted.logits_hashes) == 8 * len(wanted.token_ids) == 8 * NUM_TOKENS
    core = make_core(path, threads=3, max_num_batched_tokens=11, **settings)
    for number in range(7):
        submit(core, f"r{number}", PROMPT[: 30 + number] + random_prompt(20, seed=number), 5 + 2 * number)
    ask(core, adapter, **ASKED)
    assert run(core)["asked"] == wanted
    submit(core, "beside", random_prompt(9, seed=8), 30)
    ask(core, adapter, **(ASKED | {"prompt_logprobs": None}))
    again = run(core)["asked"]
    assert (again.token_ids, again.logits_hashes) == (wanted.token_ids, wanted.logits_hashes)
    assert again.logprobs == wanted.logprobs
    assert core.scheduler.prefix_hits > 0


@needs_kernels
@pytest.mark.parametrize("kv_cache_dtype", ["auto", "int8"])
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float32"])
def test_nothing_beside_a_request_changes_its_logits(model: Path, dtype: str, kv_cache_dtype: str) -> None:
    assert_its_own(model, dtype=dtype, kv_cache_dtype=kv_cache_dtype)


@needs_kernels
@pytest.mark.parametrize(
    ("kind", "scheme"), [("llama-tied", Scheme.W4A16), ("qwen2", Scheme.W8A8), ("qwen3", Scheme.W8A16)]
)
def test_nor_those_of_quantised_weights(kind: str, scheme: Scheme, tmp_path: Path) -> None:
    quantise_checkpoint(tmp_path, save_tiny_model(tmp_path, kind), scheme)
    assert_its_own(tmp_path, dtype="bfloat16")


@needs_kernels
def test_nor_those_with_an_adapter(model: Path, tmp_path: Path) -> None:
    save_adapter(model, tmp_path, seed=3)
    assert_its_own(model, describe(tmp_path), dtype="bfloat16")


@needs_kernels
def test_preemption_leaves_the_hashes_as_they_are(model: Path) -> None:
    wanted = alone(model, dtype="bfloat16", choice=ASKED)
    core = make_core(model, dtype="bfloat16", kv_cache_memory=9 * BLOCK)
    for number in range(3):
        submit(core, f"r{number}", random_prompt(30, seed=number), 40)
    ask(core, **ASKED)
    assert run(core)["asked"] == wanted
    assert core.scheduler.num_preemptions > 0


def test_the_hash_is_of_the_models_own_logits(model: Path) -> None:
    """Of which a bias and a penalty make other ones afterwards, from the token on that they change."""
    plain = alone(model)
    biased = alone(model, choice={"logit_bias": {plain.token_ids[0]: -100.0}})
    assert biased.token_ids[0] != plain.token_ids[0]
    assert biased.logits_hashes[:8] == plain.logits_hashes[:8]
    assert biased.logits_hashes[8:16] != plain.logits_hashes[8:16]


def test_who_does_not_ask_is_told_none(model: Path) -> None:
    core = make_core(model)
    submit(core, "silent", PROMPT, 4)
    ask(core)
    answers = run(core)
    assert answers["silent"].logits_hashes == b""
    assert len(answers["asked"].logits_hashes) == 8 * NUM_TOKENS
