"""The model runner under the scheduler: however prompts are cut, batched or preempted, a sequence's answer stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes.tiny_models import (
    VOCAB_SIZE,
    Answer,
    dense,
    make_core,
    random_prompt,
    run,
    save_tiny_model,
    step,
    submit,
)

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.batch import Batch, ScheduledSequence
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.engines.native.model_runner import MAX_PROMPT_LOGPROB_ROWS, ModelRunner, resolve_precision
from pennyweight.server.engines.native.sequence import Sequence
from pennyweight.server.errors import ModelError

# Keys and values in float32 of 2 layers with 2 heads of 16, 16 tokens to a block.
BYTES_PER_BLOCK = 2 * 2 * 2 * 16 * 16 * 4
REQUESTS = {f"r{number}": (random_prompt(3 + 13 * number % 90, number), 5 + 7 * number % 40) for number in range(16)}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_tiny_model(path, "llama")
    return path


def submit_all(core: NativeEngineCore) -> None:
    for name, (prompt, max_tokens) in REQUESTS.items():
        submit(core, name, prompt, max_tokens)


@pytest.fixture(scope="module")
def alone(model_path: Path) -> dict[str, list[int]]:
    """The answer to each of REQUESTS, by a core that runs one at a time and prompts whole."""
    core = make_core(model_path, max_num_seqs=1, max_num_batched_tokens=256, enable_prefix_caching=False)
    submit_all(core)
    return {name: answer.token_ids for name, answer in run(core).items()}


@pytest.mark.parametrize("budget", [8, 33, 256])
def test_batches_and_chunks_give_what_each_request_gives_alone(
    budget: int, model_path: Path, alone: dict[str, list[int]]
) -> None:
    core = make_core(model_path, max_num_batched_tokens=budget)
    submit_all(core)
    assert {name: answer.token_ids for name, answer in run(core).items()} == alone
    assert core.blocks.num_free == core.blocks.num_blocks


def test_preempted_sequences_are_recomputed_to_the_same_end(model_path: Path, alone: dict[str, list[int]]) -> None:
    core = make_core(model_path, kv_cache_memory=12 * BYTES_PER_BLOCK)
    submit_all(core)
    assert {name: answer.token_ids for name, answer in run(core).items()} == alone
    assert core.scheduler.num_preemptions > 0


def test_cancelled_requests_leave_the_others_as_they_were(model_path: Path, alone: dict[str, list[int]]) -> None:
    core = make_core(model_path, max_num_seqs=4)
    submit_all(core)
    answers: dict[str, Answer] = {}
    cancelled = {"r0", "r2", "r5", "r9", "r15"}
    for name in sorted(cancelled):
        for _ in range(4):
            step(core, answers)
        core.abort(name)
    run(core, answers)
    assert {name: answers[name].token_ids for name in REQUESTS if name not in cancelled} == {
        name: tokens for name, tokens in alone.items() if name not in cancelled
    }


def test_many_prompts_with_logprobs_share_a_step(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, "qwen2")
    core = make_core(tmp_path, max_num_batched_tokens=1024)
    prompts = {f"p{number}": random_prompt(90 + number, number) for number in range(8)}
    assert sum(map(len, prompts.values())) > 4 * MAX_PROMPT_LOGPROB_ROWS
    for name, prompt in prompts.items():
        submit(core, name, prompt, 2, logprobs=VOCAB_SIZE, prompt_logprobs=VOCAB_SIZE)
    for name, answer in run(core).items():
        tokens = torch.tensor([prompts[name] + answer.token_ids])
        with torch.inference_mode():
            expected = model(tokens).logits[0].log_softmax(dim=-1)
        torch.testing.assert_close(dense(answer.prompt_logprobs + answer.logprobs), expected[:-1], atol=1e-4, rtol=0)
        assert [one.token_id for one in answer.prompt_logprobs] == prompts[name][1:]
        chosen = torch.tensor([one.logprob for one in answer.prompt_logprobs + answer.logprobs])
        followers = tokens[0, 1:, None]
        torch.testing.assert_close(chosen, expected[:-1].gather(1, followers)[:, 0], atol=1e-4, rtol=0)


def test_prompt_logprobs_survive_preemption(model_path: Path) -> None:
    asked = {"prompt_logprobs": 2}
    prompts = {f"p{number}": random_prompt(60, number) for number in range(3)}
    found = []
    for blocks in (12, 200):
        core = make_core(model_path, kv_cache_memory=blocks * BYTES_PER_BLOCK)
        for name, prompt in prompts.items():
            submit(core, name, prompt, 20, **asked)
        found.append(run(core))
    for name, prompt in prompts.items():
        tight, roomy = found[0][name], found[1][name]
        assert [one.token_id for one in tight.prompt_logprobs] == prompt[1:]
        for one, other in zip(tight.prompt_logprobs, roomy.prompt_logprobs, strict=True):
            assert one.top_ids == other.top_ids
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_batch_row_is_given_back_once(model_path: Path) -> None:
    settings = EngineSettings(
        dtype="float32", device="cpu", threads=1, max_num_seqs=2, kv_cache_memory=1 << 20, enable_prefix_caching=False
    )
    runner = ModelRunner(model_path, settings, on_progress=lambda done, total: None)

    def sequence(name: str) -> Sequence:
        one = Sequence(name, 0, torch.arange(16, dtype=torch.int32).numpy(), 16, 0, TokenChoice())
        one.block_table = [0]
        return one

    first, second = sequence("a"), sequence("b")
    runner.execute(Batch((ScheduledSequence(first, 16), ScheduledSequence(second, 16))))
    assert {first.row, second.row} == {0, 1}
    for _ in range(3):
        runner.release(first)
    assert first.row == -1
    third = sequence("c")
    runner.execute(Batch((ScheduledSequence(third, 16),)))
    assert third.row != second.row


def test_progress_ends_with_all_bytes(model_path: Path) -> None:
    told: list[tuple[int, int]] = []
    settings = EngineSettings(device="cpu", threads=1, kv_cache_memory=1 << 20)
    runner = ModelRunner(model_path, settings, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    assert told == sorted(told)
    assert len({total for _, total in told}) == 1
    assert runner.precision == "bfloat16"


def test_the_fingerprint_tells_precisions_and_weights_apart(model_path: Path, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama-tied")

    def fingerprint(path: Path, dtype: str) -> str:
        settings = EngineSettings(dtype=dtype, device="cpu", threads=1, kv_cache_memory=1 << 20)
        return repr(ModelRunner(path, settings, on_progress=lambda done, total: None).fingerprint())

    made = [fingerprint(model_path, "float32"), fingerprint(model_path, "int8"), fingerprint(tmp_path, "float32")]
    assert len(set(made)) == 3
    assert fingerprint(model_path, "float32") == made[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float8"}, "no dtype is called 'float8'"),
        ({"device": "abacus"}, "no device is called 'abacus'"),
        ({"device": "meta"}, "runs on cpu and cuda"),
        ({"max_model_len": 257}, "context is 1 to 256"),
        ({"max_model_len": 0}, "context is 1 to 256"),
        ({"max_model_len": 256, "kv_cache_memory": 100_000}, "give more with kv_cache_memory"),
        ({"kv_cache_memory": 1000}, "give more with kv_cache_memory"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(changes: dict[str, object], message: str, model_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        make_core(model_path, **changes)


def test_the_context_is_what_the_cache_holds(model_path: Path) -> None:

    def lengths(**changes: object) -> tuple[int, int]:
        options = {"dtype": "float32", "device": "cpu", "threads": 1} | changes
        runner = ModelRunner(model_path, EngineSettings(**options), on_progress=lambda done, total: None)
        return runner.max_model_len, runner.num_blocks

    assert lengths(kv_cache_memory=5 * BYTES_PER_BLOCK) == (80, 5)
    # Never more than all sequences at full length could use.
    assert lengths(kv_cache_memory=1 << 30, max_num_seqs=3) == (256, 48)
    assert lengths(kv_cache_memory=1 << 30, max_num_seqs=3, max_model_len=100) == (100, 21)
    assert lengths(max_num_seqs=2) == (256, 32)


def test_auto_is_bfloat16_everywhere() -> None:
    assert resolve_precision("auto") == resolve_precision("bfloat16")
