"""The scorer's distributions against transformers, and its answers against the engine's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes.tiny_models import VOCAB_SIZE, make_core, random_prompt, run, save_tiny_model, submit
from transformers import PreTrainedModel

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.native.model_runner import MAX_PROMPT_LOGPROB_ROWS
from pennyweight.server.engines.native.scorer import Scorer

SETTINGS = EngineSettings(dtype="float32", device="cpu", threads=1, max_num_seqs=4, enable_prefix_caching=False)
TEXT = random_prompt(150, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    path = tmp_path_factory.mktemp("llama")
    return path, save_tiny_model(path, "llama")


@pytest.fixture(scope="module")
def scorer(model: tuple[Path, PreTrainedModel]) -> Scorer:
    return Scorer(model[0], SETTINGS)


def collected(scorer: Scorer, token_ids: list[int], first: int) -> torch.Tensor:
    runs = [logits.clone() for logits in scorer.logits(token_ids, first)]
    assert all(len(logits) <= MAX_PROMPT_LOGPROB_ROWS for logits in runs)
    return torch.cat(runs)


@pytest.mark.parametrize("first", [0, 1, 63, 64, 70, 148])
def test_logits_are_those_of_transformers(first: int, model: tuple[Path, PreTrainedModel], scorer: Scorer) -> None:
    with torch.inference_mode():
        expected = model[1](torch.tensor([TEXT])).logits[0, first:-1]
    found = collected(scorer, TEXT, first)
    assert found.shape == (len(TEXT) - 1 - first, VOCAB_SIZE)
    assert torch.allclose(found, expected, atol=2e-4)


def test_the_same_text_gives_the_same_bits_again(scorer: Scorer) -> None:
    once, again = collected(scorer, TEXT, 0), collected(scorer, TEXT, 0)
    assert torch.equal(once, again)


def test_logprobs_are_of_the_tokens_that_follow(scorer: Scorer) -> None:
    rows = collected(scorer, TEXT, 20).double().log_softmax(dim=-1)
    expected = [float(row[token]) for row, token in zip(rows, TEXT[21:], strict=True)]
    assert scorer.logprobs(TEXT, 20) == pytest.approx(expected, abs=1e-9)


def test_answers_are_the_engine_s_and_blocks_are_given_back(
    model: tuple[Path, PreTrainedModel], scorer: Scorer
) -> None:
    prompts = [random_prompt(length, length) for length in (5, 40, 17, 90, 33, 8)]
    core = make_core(model[0], enable_prefix_caching=False)
    for number, prompt in enumerate(prompts):
        submit(core, str(number), prompt, 12)
    alone = run(core)
    for _ in range(2):
        found = scorer.generate(prompts, 12, frozenset())
        assert found == [alone[str(number)].token_ids for number in range(len(prompts))]
        collected(scorer, TEXT, 0)
    stop = found[0][3]
    assert scorer.generate(prompts[:1], 12, frozenset({stop})) == [found[0][: found[0].index(stop) + 1]]


def test_a_context_beyond_the_model_s_is_cut_to_it(model: tuple[Path, PreTrainedModel]) -> None:
    assert (
        Scorer(model[0], EngineSettings(device="cpu", max_model_len=10**6, max_num_seqs=1)).runner.max_model_len == 256
    )
