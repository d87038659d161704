"""One forward pass over a mixed batch of prefill and decode tokens, described as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """T tokens of S sequences, sequence after sequence. All tensors are int32 on the kernels' device.

    token_ids     [T]       what to embed
    positions     [T]       position of each token in its sequence, from 0
    slots         [T]       where its key and value go: block * block_size + offset
    query_start   [S + 1]   row of each sequence's first token; query_start[S] == T
    context_lens  [S]       keys that the sequence has after this step (so its last token's position + 1)
    block_tables  [S, B]    ids of each sequence's KV blocks, in order; entries past its length are never read
    logit_rows    [R]       rows whose logits are wanted, ascending
    max_context             the largest of context_lens, known on the host
    adapters      [T]       slot of each token's adapter, -1 for none; None where no token has one
    """

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    query_start: Tensor
    context_lens: Tensor
    block_tables: Tensor
    logit_rows: Tensor
    max_context: int
    adapters: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.token_ids.shape[0]

    @property
    def num_seqs(self) -> int:
        return self.context_lens.shape[0]

    @property
    def num_logit_rows(self) -> int:
        return self.logit_rows.shape[0]
