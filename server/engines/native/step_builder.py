"""From scheduled sequences to the flat arrays of a step."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.step import Step

from .batch import ScheduledSequence
from .sequence import Sequence

# Arrays begin at multiples of 16 bytes in the staging buffer.
ALIGNMENT = 4


def num_prompt_rows(item: ScheduledSequence) -> int:
    """How many of an item's tokens want logits for the prompt token that follows them.

    The prompt is told once: not by the further choices of a request, and not again when a preempted one is recomputed.
    """
    sequence = item.sequence
    if sequence.choice.prompt_logprobs is None or sequence.index > 0 or sequence.num_output > 0:
        return 0
    return max(0, min(item.num_new, sequence.num_prompt - 1 - sequence.num_computed))


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, and whose its rows of logits are.

    ``sampling[i]`` chooses from row ``sampling_rows[i]``; None means row i, for all of the rows. ``prompt_spans`` are
    (item, first row, number of rows) for the prompt tokens that want logprobs.
    """

    step: Step
    sampling: list[Sequence]
    sampling_rows: NDArray[np.intp] | None
    prompt_spans: list[tuple[int, int, int]]


class StepBuilder:
    """Keeps each batch row's block table as an array and builds steps without work for each token.

    A step's tensors are valid until the next ``build``.
    """

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        self._device = device
        self._block_size = geometry.block_size
        self._tables = np.zeros((geometry.max_seqs, geometry.max_blocks_per_seq), dtype=np.int32)
        self._table_lengths = [0] * geometry.max_seqs
        sizes = [geometry.max_tokens] * 4 + [geometry.max_seqs + 1] * 2 + [geometry.max_logit_rows, self._tables.size]
        self._staging = torch.empty(sum(sizes) + ALIGNMENT * len(sizes), dtype=torch.int32)

    def enter(self, row: int) -> None:
        """Begin a row: the sequence that has it now brings another block table."""
        self._table_lengths[row] = 0

    def build(self, items: Items[ScheduledSequence]) -> PlannedStep:
        """The step of items whose sequences have rows."""
        sequences = [item.sequence for item in items]
        self._copy_block_tables(sequences)
        rows = np.array([one.row for one in sequences], dtype=np.intp)
        starts = np.array([one.num_computed for one in sequences], dtype=np.int32)
        counts = np.array([item.num_new for item in items], dtype=np.int32)
        lengths = np.array([one.num_tokens for one in sequences], dtype=np.int32)
        ends = starts + counts
        query_start = np.zeros(len(items) + 1, dtype=np.int32)
        np.cumsum(counts, out=query_start[1:])
        num_tokens = int(query_start[-1])
        if num_tokens == len(items):
            tokens = np.array([one.tokens[one.num_computed] for one in sequences], dtype=np.int32)
            positions, token_rows = starts, rows
        else:
            tokens = np.concatenate(
                [one.tokens[one.num_computed : end] for one, end in zip(sequences, ends, strict=True)]
            )
            positions = np.arange(num_tokens, dtype=np.int32) + np.repeat(starts - query_start[:-1], counts)
            token_rows = np.repeat(rows, counts)
        slots = (
            self._tables[token_rows, positions // self._block_size] * self._block_size + positions % self._block_size
        )
        max_context = int(ends.max())
        samples = ends == lengths
        last_rows = query_start[1:][samples] - 1
        logit_rows, sampling_rows, spans = self._logit_rows(items, query_start, last_rows)
        tables = self._tables[rows, : -(-max_context // self._block_size)]
        adapters = np.repeat(np.array([one.adapter_slot for one in sequences], dtype=np.int32), counts)
        has_adapters = bool((adapters >= 0).any())
        arrays = (tokens, positions, slots, query_start, ends, tables, logit_rows)
        tensors = self._tensors((*arrays, adapters) if has_adapters else arrays)
        return PlannedStep(
            Step(
                token_ids=tensors[0],
                positions=tensors[1],
                slots=tensors[2],
                query_start=tensors[3],
                context_lens=tensors[4],
                block_tables=tensors[5],
                logit_rows=tensors[6],
                max_context=max_context,
                adapters=tensors[7] if has_adapters else None,
            ),
            [one for one, chosen in zip(sequences, samples.tolist(), strict=True) if chosen],
            sampling_rows,
            spans,
        )

    def _copy_block_tables(self, sequences: list[Sequence]) -> None:
        # While a sequence keeps its row, its table only grows.
        for sequence in sequences:
            known = self._table_lengths[sequence.row]
            table = sequence.block_table
            if len(table) != known:
                self._tables[sequence.row, known : len(table)] = table[known:]
                self._table_lengths[sequence.row] = len(table)

    def _logit_rows(
        self, items: Items[ScheduledSequence], query_start: NDArray[np.int32], last_rows: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.intp] | None, list[tuple[int, int, int]]]:
        wanted = [(index, count) for index, item in enumerate(items) if (count := num_prompt_rows(item))]
        if not wanted:
            return last_rows, None, []
        prompt_rows = [np.arange(count, dtype=np.int32) + query_start[index] for index, count in wanted]
        logit_rows = np.sort(np.concatenate([last_rows, *prompt_rows]))
        spans = [(index, int(np.searchsorted(logit_rows, query_start[index])), count) for index, count in wanted]
        return logit_rows, np.searchsorted(logit_rows, last_rows), spans

    def _tensors(self, arrays: tuple[NDArray[Any], ...]) -> list[Tensor]:
        """int32 tensors of the arrays on the device, by one copy."""
        host = self._staging.numpy()
        begins = []
        end = 0
        for array in arrays:
            begins.append(end)
            host[end : end + array.size] = array.reshape(-1)
            end = -(-(end + array.size) // ALIGNMENT) * ALIGNMENT
        # Blocking: the next step may overwrite the staging buffer at once. On the CPU these are views of it.
        flat = self._staging[:end].to(self._device)
        return [flat[begin : begin + array.size].view(array.shape) for begin, array in zip(begins, arrays, strict=True)]
