"""The sampler: adjustments against a plain reference, distributions against exact probabilities, choices without neighbours."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pennyweight.server.engines.local.grammar import GrammarCompiler, Matcher
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.sampler import Sampler
from pennyweight.server.engines.native.sequence import Sequence
from pennyweight.server.types import Constraint, ConstraintKind

VOCAB_SIZE = 50


def make_sequence(row: int, prompt: list[int], output: list[int], **choice: Any) -> Sequence:
    tokens = np.zeros(len(prompt) + len(output) + 50, dtype=np.int32)
    tokens[: len(prompt)] = prompt
    sequence = Sequence(f"r{row}", 0, tokens, len(prompt), 50, TokenChoice(**choice), row=row)
    for token in output:
        sequence.append(token)
    return sequence


def make_sampler(sequences: list[Sequence], rows: int = 16) -> Sampler:
    sampler = Sampler(rows, VOCAB_SIZE, torch.device("cpu"))
    for sequence in sequences:
        sampler.enter(sequence)
    return sampler


def random_logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)) * 3


def penalised(logits: list[float], sequence: Sequence) -> list[float]:
    """The penalties and biases of one row, one token after the other."""
    choice = sequence.choice
    prompt = sequence.tokens[: sequence.num_prompt].tolist()
    output = sequence.tokens[sequence.num_prompt : sequence.num_tokens].tolist()
    adjusted = []
    for token, value in enumerate(logits):
        if token in prompt or token in output:
            value = value / choice.repetition_penalty if value > 0 else value * choice.repetition_penalty
        value -= choice.frequency_penalty * output.count(token)
        value -= choice.presence_penalty * (token in output)
        value += choice.logit_bias.get(token, 0.0)
        if token in choice.suppress and len(output) < choice.min_tokens:
            value = -math.inf
        adjusted.append(value)
    return adjusted


def assert_adjusted(sampler: Sampler, sequences: list[Sequence], seed: int) -> list[int]:
    logits = random_logits(len(sequences), seed)
    expected = [penalised(row, one) for row, one in zip(logits.tolist(), sequences, strict=True)]
    chosen, _ = sampler.choose(logits, sequences)
    torch.testing.assert_close(logits, torch.tensor(expected), atol=1e-5, rtol=0)
    return chosen.tolist()


def test_adjustments_equal_a_plain_reference_as_the_output_grows() -> None:
    prompt = [3, 3, 7, 11]
    sequences = [
        make_sequence(4, prompt, [], repetition_penalty=1.7),
        make_sequence(2, prompt, [5, 5, 9], presence_penalty=0.8, frequency_penalty=-0.5),
        make_sequence(9, prompt, []),
        make_sequence(
            0, prompt, [7, 7, 8], repetition_penalty=0.6, frequency_penalty=1.1, logit_bias={7: 5.0, 8: -100.0}
        ),
        make_sequence(1, prompt, [1], logit_bias={1: -2.5, 49: 3.0}, min_tokens=3, suppress=(2, 6)),
    ]
    sampler = make_sampler(sequences)
    for seed in range(6):
        for one, token in zip(sequences, assert_adjusted(sampler, sequences, seed), strict=True):
            one.append(token)
    # Not every sequence takes part in every step.
    for seed in range(6, 12):
        some = sequences[seed % 3 :: 2]
        for one, token in zip(some, assert_adjusted(sampler, some, seed), strict=True):
            one.append(token)


def test_a_row_forgets_its_former_sequence() -> None:
    first = make_sequence(3, [1, 2, 3], [4, 4], repetition_penalty=2.0, frequency_penalty=1.0)
    sampler = make_sampler([first])
    assert_adjusted(sampler, [first], 0)
    # One that was preempted after some output comes back into a row that another has used.
    second = make_sequence(3, [5, 6], [7, 7, 8], repetition_penalty=1.5, presence_penalty=0.5)
    sampler.enter(second)
    assert_adjusted(sampler, [second], 1)
    third = make_sequence(3, [1], [])
    sampler.enter(third)
    assert_adjusted(sampler, [third], 2)


def test_ends_past_the_vocabulary_are_not_a_matter_for_min_tokens() -> None:
    sequence = make_sequence(0, [1], [], min_tokens=1, suppress=(4, VOCAB_SIZE, VOCAB_SIZE + 7))
    logits = random_logits(1)
    make_sampler([sequence]).choose(logits, [sequence])
    assert torch.isneginf(logits).nonzero()[:, 1].tolist() == [4]


def test_greedy_takes_the_largest_and_ties_by_the_lower_id() -> None:
    sequences = [make_sequence(0, [1], []), make_sequence(1, [1], [])]
    logits = random_logits(2)
    logits[1, [5, 30]] = 100.0
    expected = [int(logits[0].argmax()), 5]
    chosen, logprobs = make_sampler(sequences).choose(logits, sequences)
    assert chosen.tolist() == expected
    assert logprobs == [None, None]


def test_logprobs_are_of_the_adjusted_logits_before_temperature() -> None:
    sequences = [
        make_sequence(0, [1], [], temperature=2.5, top_k=2, seed=1, logprobs=4, logit_bias={7: 2.0}),
        make_sequence(1, [1], []),
        make_sequence(2, [1], [], logprobs=0),
    ]
    logits = random_logits(3)
    expected = torch.tensor([penalised(row, one) for row, one in zip(logits.tolist(), sequences, strict=True)])
    expected = expected.log_softmax(dim=-1)
    chosen, found = make_sampler(sequences).choose(logits, sequences)
    first, second, third = found
    assert first is not None
    assert third is not None
    assert second is None
    assert first.token_logprob == pytest.approx(float(expected[0, chosen[0]]), abs=1e-5)
    assert first.top_ids.tolist() == expected[0].topk(4).indices.tolist()
    np.testing.assert_allclose(first.top_logprobs, expected[0].topk(4).values, atol=1e-5)
    assert third.token_logprob == pytest.approx(float(expected[2].max()), abs=1e-5)
    assert third.top_ids.size == 0


def test_a_choice_does_not_depend_on_the_batch() -> None:
    asked = [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 1.3, "top_k": 5},
        {"temperature": 1.0, "min_p": 0.05},
        {"temperature": 2.0, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2},
        {},
        {"temperature": 1.0, "logprobs": 3},
    ]
    outputs = [list(range(number)) for number in range(len(asked))]
    logits = random_logits(len(asked))

    def choose(indices: list[int], rows: list[int]) -> dict[int, int]:
        sequences = [
            make_sequence(row, [1, 2], outputs[index], seed=(1 << 63) + 12345 + index, **asked[index])
            for index, row in zip(indices, rows, strict=True)
        ]
        chosen, _ = make_sampler(sequences).choose(logits[indices].clone(), sequences)
        return dict(zip(indices, chosen.tolist(), strict=True))

    together = choose(list(range(7)), list(range(7)))
    assert choose([6, 2, 4, 0, 5, 1, 3], [3, 15, 0, 8, 1, 2, 9]) == together
    for index in range(7):
        assert choose([index], [11])[index] == together[index]


def test_choices_differ_with_the_seed_and_with_the_position() -> None:
    flat = torch.zeros(1, VOCAB_SIZE)

    def choose(seed: int, position: int) -> int:
        sequence = make_sequence(0, [1] * position, [], temperature=1.0, seed=seed)
        return int(make_sampler([sequence]).choose(flat.clone(), [sequence])[0][0])

    assert len({choose(seed, 1) for seed in range(30)}) > 10
    assert len({choose(1 << 40, position) for position in range(1, 31)}) > 10
    # All 64 bits of the seed count.
    assert len({choose(seed << 56, 1) for seed in range(30)}) > 10


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    """Over the letters a to z as tokens 1 to 26, and the end of the sequence as token 0."""
    vocabulary = {"<end>": 0} | {chr(ord("a") + number): number + 1 for number in range(26)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return GrammarCompiler(tokenizer.to_str, VOCAB_SIZE, (0,))


def one_of(compiler: GrammarCompiler, choices: str) -> Matcher:
    return compiler.compile(Constraint(kind=ConstraintKind.CHOICE, value=choices))


def test_a_grammar_masks_its_own_row_alone(compiler: GrammarCompiler) -> None:
    sequences = [make_sequence(row, [1], [], logprobs=VOCAB_SIZE) for row in range(4)]
    sequences[1].matcher = one_of(compiler, '["bad", "dab"]')
    sequences[3].matcher = one_of(compiler, '["cab"]')
    logits = random_logits(4)
    expected = logits.clone()
    expected[1, [token for token in range(VOCAB_SIZE) if token not in (2, 4)]] = -math.inf
    expected[3, [token for token in range(VOCAB_SIZE) if token != 3]] = -math.inf
    chosen, logprobs = make_sampler(sequences).choose(logits, sequences)
    assert chosen.tolist() == expected.argmax(dim=-1).tolist()
    for found, row in zip(logprobs, expected.log_softmax(dim=-1), strict=True):
        assert found is not None
        np.testing.assert_allclose(found.top_logprobs, row[found.top_ids.tolist()], atol=1e-5)


def test_min_tokens_keeps_a_grammar_going_but_not_past_its_end(compiler: GrammarCompiler) -> None:
    sequence = make_sequence(0, [1], [], min_tokens=5, suppress=(0,))
    sequence.matcher = one_of(compiler, '["a", "abc"]')
    sampler = make_sampler([sequence])
    for expected in (1, 2, 3, 0):
        logits = torch.zeros(1, VOCAB_SIZE)
        logits[0, 0] = 10.0
        chosen, _ = sampler.choose(logits, [sequence])
        assert chosen.tolist() == [expected]
        sequence.append(expected)
        sequence.matcher.accept(expected)


def expected_distribution(logits: torch.Tensor, choice: TokenChoice) -> torch.Tensor:
    """Temperature, top-k, top-p, min-p by their definitions, in float64."""
    ranked = sorted(enumerate((logits.double() / choice.temperature).tolist()), key=lambda pair: (-pair[1], pair[0]))
    if choice.top_k:
        ranked = ranked[: choice.top_k]
    total = sum(math.exp(value) for _, value in ranked)
    kept, mass = [], 0.0
    for token, value in ranked:
        if kept and mass >= choice.top_p:
            break
        kept.append((token, value))
        mass += math.exp(value) / total
    floor = math.exp(kept[0][1]) * choice.min_p
    kept = [(token, value) for token, value in kept if math.exp(value) >= floor]
    distribution = torch.zeros(len(logits), dtype=torch.float64)
    for token, value in kept:
        distribution[token] = math.exp(value)
    return distribution / distribution.sum()


@pytest.mark.parametrize(
    "choice",
    [
        TokenChoice(temperature=1.0),
        TokenChoice(temperature=0.6),
        TokenChoice(temperature=1.0, top_k=3),
        TokenChoice(temperature=1.5, top_p=0.75),
        TokenChoice(temperature=1.0, min_p=0.1),
        TokenChoice(temperature=1.2, top_k=12, top_p=0.9, min_p=0.02),
    ],
)
def test_the_distribution_is_that_of_the_definitions(choice: TokenChoice) -> None:
    count = 20_000
    logits = torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(5)) * 1.5
    sequences = [make_sequence(row, [1], []) for row in range(count)]
    for one in sequences:
        one.choice = msgspec.structs.replace(choice, seed=one.row * 7919)
    chosen, _ = make_sampler(sequences, rows=count).choose(logits.repeat(count, 1), sequences)
    seen = np.bincount(chosen, minlength=VOCAB_SIZE) / count
    expected = expected_distribution(logits, choice).numpy()
    assert set(np.flatnonzero(seen)) <= set(np.flatnonzero(expected))
    # Five standard deviations of a binomial share.
    assert (np.abs(seen - expected) <= 5 * np.sqrt(expected * (1 - expected) / count) + 1e-9).all()
