"""Presence, frequency and repetition penalties, over the few tokens that each sequence has seen."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .sequence import Sequence


class _SeenTokens:
    """The different tokens of one sequence, and how often each stands in its output.

    The prompt's tokens are among them only where the repetition penalty asks for them.
    """

    def __init__(self, sequence: Sequence) -> None:
        prompt = sequence.tokens[: sequence.num_prompt if sequence.choice.repetition_penalty != 1.0 else 0]
        unique = np.unique(prompt)
        self._place = {token: place for place, token in enumerate(unique.tolist())}
        self._ids = np.zeros(len(unique) + 64, dtype=np.int64)
        self._ids[: len(unique)] = unique
        self._counts = np.zeros(len(self._ids), dtype=np.float32)
        self._counted = sequence.num_prompt

    def count(self, sequence: Sequence) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The tokens' ids and counts in the output, [n] each, as of now."""
        for token in sequence.tokens[self._counted : sequence.num_tokens].tolist():
            place = self._place.setdefault(token, len(self._place))
            if place == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[place] = token
            self._counts[place] += 1
        self._counted = sequence.num_tokens
        return self._ids[: len(self._place)], self._counts[: len(self._place)]


class Penalties:
    """The penalties on the tokens that each batch row's sequence has seen.

    As in vLLM: the repetition penalty (arXiv:1909.05858) looks at prompt and output, and divides positive logits and
    multiplies others; OpenAI's frequency and presence penalties then look at the output alone and are subtracted, the
    first for each occurrence, the second once. Only the logits of seen tokens are read and written, so the cost goes with
    the length of the sequences and not with the vocabulary.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seen: dict[int, _SeenTokens] = {}

    def enter(self, sequence: Sequence) -> None:
        """Begin a row: note the prompt. The output, if there is any, is counted by ``apply``."""
        self._seen[sequence.row] = _SeenTokens(sequence)

    def apply(self, logits: Tensor, indices: list[int], sequences: list[Sequence]) -> None:
        """Penalise in place the rows ``indices`` of logits [R, V], which belong to ``sequences``."""
        ids, counts = zip(*(self._seen[one.row].count(one) for one in sequences), strict=True)
        sizes = [len(one) for one in ids]
        parameters = np.array(
            [
                (one.choice.repetition_penalty, one.choice.frequency_penalty, one.choice.presence_penalty)
                for one in sequences
            ],
            dtype=np.float32,
        )
        repetition, frequency, presence = self._tensor(np.repeat(parameters, sizes, axis=0)).unbind(dim=1)
        at = self._tensor(np.repeat(np.array(indices, dtype=np.int64), sizes)), self._tensor(np.concatenate(ids))
        in_output = self._tensor(np.concatenate(counts))
        x = logits[at]
        x = torch.where(x > 0, x / repetition, x * repetition)
        logits[at] = x - in_output * frequency - (in_output > 0) * presence

    def _tensor(self, array: NDArray[np.int64] | NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self._device)
