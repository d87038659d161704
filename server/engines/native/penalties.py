"""Presence, frequency and repetition penalties, from counts that are kept for each batch row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .sequence import Sequence


class Penalties:
    """Which tokens each row's prompt and output hold, and the penalties on them.

    As in vLLM: the repetition penalty (arXiv:1909.05858) looks at prompt and output, and divides positive logits and
    multiplies others; OpenAI's frequency and presence penalties then look at the output alone and are subtracted, the
    first for each occurrence, the second once. The counts, [rows, V], are made when a sequence first asks for them.
    """

    def __init__(self, max_num_seqs: int, vocab_size: int, device: torch.device) -> None:
        self._device = device
        self._shape = max_num_seqs, vocab_size
        self._in_prompt: Tensor | None = None
        self._in_output: Tensor | None = None
        self._counted = [0] * max_num_seqs

    def enter(self, sequence: Sequence) -> None:
        """Begin a row: note the prompt. The output, if there is any, is counted by ``apply``."""
        in_prompt, in_output = self._tables()
        row = sequence.row
        in_output[row] = 0
        in_prompt[row] = False
        in_prompt[row, self._ids(sequence.tokens[: sequence.num_prompt])] = True
        self._counted[row] = sequence.num_prompt

    def apply(self, logits: Tensor, indices: list[int], sequences: list[Sequence]) -> None:
        """Penalise in place the rows ``indices`` of logits [R, V], which belong to ``sequences``."""
        in_prompt, in_output = self._tables()
        rows = [sequence.row for sequence in sequences]
        self._count(in_output, sequences)
        where = self._ids(np.array(indices))
        slots = self._ids(np.array(rows))
        parameters = np.array(
            [
                (one.choice.repetition_penalty, one.choice.frequency_penalty, one.choice.presence_penalty)
                for one in sequences
            ],
            dtype=np.float32,
        )
        repetition, frequency, presence = torch.from_numpy(parameters).to(self._device)[:, :, None].unbind(dim=1)
        counts = in_output[slots]
        chosen = counts > 0
        x = logits[where]
        seen = in_prompt[slots] | chosen
        x = torch.where(seen, torch.where(x > 0, x / repetition, x * repetition), x)
        logits[where] = x - counts * frequency - chosen * presence

    def _count(self, in_output: Tensor, sequences: list[Sequence]) -> None:
        rows, tokens = [], []
        for sequence in sequences:
            new = sequence.tokens[self._counted[sequence.row] : sequence.num_tokens]
            rows.append(np.full(len(new), sequence.row))
            tokens.append(new)
            self._counted[sequence.row] = sequence.num_tokens
        at = self._ids(np.concatenate(rows)), self._ids(np.concatenate(tokens))
        in_output.index_put_(at, torch.ones((), dtype=torch.int32, device=self._device), accumulate=True)

    def _tables(self) -> tuple[Tensor, Tensor]:
        if self._in_prompt is None or self._in_output is None:
            self._in_prompt = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
            self._in_output = torch.zeros(self._shape, dtype=torch.int32, device=self._device)
        return self._in_prompt, self._in_output

    def _ids(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self._device)
