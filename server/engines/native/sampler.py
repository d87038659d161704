"""Chooses the tokens of a step: adjusts the logits as each sequence asks, then samples all rows at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pennyweight.kernels.sampling import Sampled, SamplingBatch, logprobs_of, sample
from pennyweight.server.engines.local.grammar import fill_masks

from .batch import PositionLogprobs
from .penalties import Penalties
from .sequence import Sequence

_SEED_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Sampler:
    """Keeps the sampling parameters of each batch row as arrays, so that a step costs a few gathers.

    Logits are adjusted in this order: penalties, logit_bias, the tokens that min_tokens forbids, the grammar's mask. So a
    bias has the last word over penalties, and a logprob is that of the distribution that the token was drawn from
    before temperature and truncation. Rows that ask for nothing pass through untouched.
    """

    def __init__(self, max_num_seqs: int, vocab_size: int, device: torch.device) -> None:
        self._vocab_size = vocab_size
        self._device = device
        self._temperature = np.zeros(max_num_seqs, dtype=np.float32)
        self._top_k = np.zeros(max_num_seqs, dtype=np.int32)
        self._top_p = np.ones(max_num_seqs, dtype=np.float32)
        self._min_p = np.zeros(max_num_seqs, dtype=np.float32)
        self._seed = np.zeros(max_num_seqs, dtype=np.uint64)
        self._num_top = np.full(max_num_seqs, -1, dtype=np.int32)
        # Whether the row's logits need anything before they are sampled, and whether a grammar masks them.
        self._adjusts = np.zeros(max_num_seqs, dtype=np.bool_)
        self._masked = np.zeros(max_num_seqs, dtype=np.bool_)
        self._penalties = Penalties(device)

    def enter(self, sequence: Sequence) -> None:
        """Begin the row that a sequence was given."""
        row, choice = sequence.row, sequence.choice
        self._temperature[row] = choice.temperature
        self._top_k[row] = min(choice.top_k, self._vocab_size)
        self._top_p[row] = choice.top_p
        self._min_p[row] = choice.min_p
        self._seed[row] = choice.seed & _SEED_MASK
        self._num_top[row] = -1 if choice.logprobs is None else min(choice.logprobs, self._vocab_size)
        self._masked[row] = sequence.matcher is not None
        self._adjusts[row] = choice.needs_counts or bool(choice.logit_bias) or choice.min_tokens > 0
        if choice.needs_counts:
            self._penalties.enter(sequence)

    @torch.inference_mode()
    def choose(
        self, logits: Tensor, sequences: list[Sequence]
    ) -> tuple[NDArray[np.int32], list[PositionLogprobs | None]]:
        """The next token of each sequence, from its row of float32 logits [R, V], which are changed in place."""
        rows = np.array([one.row for one in sequences], dtype=np.intp)
        masked = self._masked[rows]
        mask = self._mask(sequences, masked) if masked.any() else None
        if self._adjusts[rows].any():
            self._adjust(logits, sequences)
        num_top = self._num_top[rows]
        sampled = sample(
            logits,
            SamplingBatch(
                temperature=self._temperature[rows],
                top_k=self._top_k[rows],
                top_p=self._top_p[rows],
                min_p=self._min_p[rows],
                seed=self._seed[rows],
                position=np.array([one.num_tokens for one in sequences], dtype=np.int64),
                num_top=num_top,
                mask=mask,
                masked=masked if mask is not None else None,
            ),
        )
        return sampled.token_ids, _logprobs(sampled, num_top)

    def _adjust(self, logits: Tensor, sequences: list[Sequence]) -> None:
        penalised = [index for index, one in enumerate(sequences) if one.choice.needs_counts]
        if penalised:
            self._penalties.apply(logits, penalised, [sequences[index] for index in penalised])
        biased = [(index, one.choice.logit_bias) for index, one in enumerate(sequences) if one.choice.logit_bias]
        if biased:
            values = np.array([value for _, bias in biased for value in bias.values()], dtype=np.float32)
            at = self._places((index, bias) for index, bias in biased)
            logits.index_put_(at, torch.from_numpy(values).to(self._device), accumulate=True)
        # Under a grammar min_tokens is in the mask: see there.
        forbidden = [
            (index, self._suppressed(one))
            for index, one in enumerate(sequences)
            if one.matcher is None and one.num_output < one.choice.min_tokens
        ]
        if forbidden:
            logits.index_put_(self._places(forbidden), torch.tensor(-torch.inf, device=self._device))

    def _mask(self, sequences: list[Sequence], masked: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The allowed tokens of the masked rows, as bits [R, ceil(V / 32)].

        Where a grammar allows nothing but what min_tokens forbids, the text is complete and the grammar wins.
        """
        mask = np.zeros((len(sequences), -(-self._vocab_size // 32)), dtype=np.int32)
        where = np.flatnonzero(masked).tolist()
        matchers = [matcher for one in sequences if (matcher := one.matcher) is not None]
        fill_masks(matchers, where, mask)
        for index in where:
            sequence = sequences[index]
            if sequence.num_output < sequence.choice.min_tokens:
                suppressed = np.zeros(mask.shape[1], dtype=np.uint32)
                ids = np.array(self._suppressed(sequence), dtype=np.int64)
                np.bitwise_or.at(suppressed, ids // 32, np.uint32(1) << (ids % 32).astype(np.uint32))
                left = mask[index] & ~suppressed.view(np.int32)
                if left.any():
                    mask[index] = left
        return mask

    def _suppressed(self, sequence: Sequence) -> list[int]:
        # A model may declare ends of sequence that lie past its table.
        return [token for token in sequence.choice.suppress if token < self._vocab_size]

    def _places(self, wanted: Iterable[tuple[int, Iterable[int]]]) -> tuple[Tensor, Tensor]:
        """Row and column indices of (row, token ids) pairs."""
        pairs = np.array([(index, token) for index, tokens in wanted for token in tokens], dtype=np.int64)
        rows, columns = torch.from_numpy(pairs.reshape(-1, 2)).to(self._device).unbind(dim=1)
        return rows, columns


def prompt_logprobs(logits: Tensor, targets: NDArray[np.int32], num_top: int) -> list[PositionLogprobs]:
    """Logprobs of ``targets`` [R], each the token that follows row i of the model's logits [R, V], with alternatives."""
    of_targets, top_ids, top_values = logprobs_of(logits, targets, num_top)
    return [
        PositionLogprobs(logprob, top_ids[index], top_values[index])
        for index, logprob in enumerate(of_targets.tolist())
    ]


def _logprobs(sampled: Sampled, num_top: NDArray[np.int32]) -> list[PositionLogprobs | None]:
    found: list[PositionLogprobs | None] = [None] * len(num_top)
    for index in np.flatnonzero(num_top >= 0).tolist():
        count = num_top[index]
        found[index] = PositionLogprobs(
            float(sampled.logprobs[index]), sampled.top_ids[index, :count], sampled.top_logprobs[index, :count]
        )
    return found
