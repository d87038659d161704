"""A model runner whose model is a hash: wrong bookkeeping of blocks or positions gives other tokens."""

from __future__ import annotations

import zlib

import numpy as np

from pennyweight.kernels.low_rank import LowRank
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.batch import Batch, PositionLogprobs, StepResult
from pennyweight.server.engines.native.cost import ModelCost
from pennyweight.server.engines.native.sequence import Sequence
from pennyweight.server.errors import ModelError
from pennyweight.server.types import Adapter

VOCAB_SIZE = 997
NO_LOGPROBS = PositionLogprobs(0.0, np.empty(0, np.int32), np.empty(0, np.float32))


def next_token(context: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(context, dtype=np.int32).tobytes()) % VOCAB_SIZE


def generate_alone(prompt: list[int], num_tokens: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(next_token(np.array(tokens)))
    return tokens[len(prompt) :]


class ToyRunner:
    """Writes token ids where a real runner writes keys and values, and reads its context back through the block table."""

    def __init__(
        self, num_blocks: int = 64, block_size: int = 4, max_model_len: int = 128, max_step_tokens: int = 16
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.max_model_len = max_model_len
        self.max_prompt_logprob_rows = 8
        self.max_step_tokens = max_step_tokens
        self.vocab_size = VOCAB_SIZE
        self.cost = ModelCost(
            token_flops=100, logits_flops=10, attention_flops=1, weight_bytes=1000, token_bytes=4, kv_bytes=8
        )
        self.memory = np.full((num_blocks, block_size), -1, dtype=np.int32)
        self.rows: set[tuple[str, int]] = set()
        self.steps: list[int] = []
        self.progress = 0

    def execute(self, batch: Batch) -> StepResult:
        chosen: list[int] = []
        prompt_logprobs: dict[int, list[PositionLogprobs]] = {}
        self.steps.append(batch.num_tokens)
        self.progress += 1
        for position, item in enumerate(batch.items):
            sequence = item.sequence
            self.rows.add((sequence.request_id, sequence.index))
            end = sequence.num_computed + item.num_new
            for place in range(sequence.num_computed, end):
                block = sequence.block_table[place // self.block_size]
                self.memory[block, place % self.block_size] = sequence.tokens[place]
            if sequence.choice.prompt_logprobs is not None:
                last = min(end, sequence.num_prompt - 1)
                prompt_logprobs[position] = [NO_LOGPROBS] * max(0, last - sequence.num_computed)
            if item.samples:
                chosen.append(next_token(self.memory[sequence.block_table].reshape(-1)[:end]))
        return StepResult(np.array(chosen, dtype=np.int32), [None] * len(chosen), prompt_logprobs)

    def copy_blocks(self, copies: list[tuple[int, int]]) -> None:
        for source, destination in copies:
            self.memory[destination] = self.memory[source]

    def load_adapter(self, adapter: Adapter) -> list[LowRank | None]:
        raise ModelError("a hash has no adapters")

    def place_adapter(self, slot: int, adapter: list[LowRank | None]) -> None:
        raise AssertionError("there is none to be placed")

    def release(self, sequence: Sequence) -> None:
        self.rows.discard((sequence.request_id, sequence.index))


def make_sequence(
    name: str, prompt: list[int], max_tokens: int, *, priority: int = 0, arrival: float = 0.0
) -> Sequence:
    tokens = np.zeros(len(prompt) + max_tokens, dtype=np.int32)
    tokens[: len(prompt)] = prompt
    return Sequence(
        request_id=name,
        index=0,
        tokens=tokens,
        num_prompt=len(prompt),
        max_tokens=max_tokens,
        choice=TokenChoice(),
        priority=priority,
        arrival=arrival,
    )
