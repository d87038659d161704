"""A sequence: one choice of one request on its way through the engine's process."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.server.engines.local.token_choice import TokenChoice

if TYPE_CHECKING:
    from pennyweight.server.engines.local.grammar import Matcher


_MASK = 0xFFFF_FFFF_FFFF_FFFF


class SequenceStatus(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens, progress and KV blocks of one sequence. Owned by the engine's step loop; no other thread touches it.

    ``tokens`` is int32 [capacity]: prompt and output; the first ``num_tokens`` are valid, the first ``num_computed`` of
    them have their keys and values in the blocks of ``block_table``. Preemption sets ``num_computed`` and the table back;
    ``num_ever_computed`` is the most that it was, so what is computed below it is computed again.
    ``queue_seconds`` is how long it waited for its first step, None until then.
    ``block_hashes`` are the prefix cache's keys of its full blocks, as far as they were needed.
    ``row`` is the model runner's persistent batch row while the sequence runs, else -1. ``leader`` is the first choice of
    the same request: the others wait for its prompt, which they then find in the prefix cache. ``adapter_slot`` is where the
    runner has its adapter, -1 for none; ``salt`` goes into its blocks' keys, so that only who has the same one shares them.
    With ``hash_logits`` ``logits_hash`` is that of all rows of logits that tokens were chosen from so far.
    While it ``is_held``, it waits for what others of its request bring, and is neither computed nor admitted. ``num_slots`` counts it and
    those that are still to fork from it.
    """

    request_id: str
    index: int
    tokens: NDArray[np.int32]
    num_prompt: int
    max_tokens: int
    choice: TokenChoice
    priority: int = 0
    arrival: float = 0.0
    matcher: Matcher | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    num_tokens: int = 0
    num_computed: int = 0
    num_ever_computed: int = 0
    num_cached: int = 0
    queue_seconds: float | None = None
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    row: int = -1
    leader: Sequence | None = None
    adapter_slot: int = -1
    salt: bytes = b""
    hash_logits: bool = False
    logits_hash: int = 0
    is_held: bool = False
    num_slots: int = 1

    def __post_init__(self) -> None:
        self.num_tokens = self.num_prompt

    @property
    def is_prefilled(self) -> bool:
        """Whether everything but the newest token has its keys and values."""
        return self.num_computed >= self.num_tokens - 1

    @property
    def num_output(self) -> int:
        return self.num_tokens - self.num_prompt

    def append(self, token_id: int) -> None:
        """Add a chosen token; its key and value are computed in the next step."""
        self.tokens[self.num_tokens] = token_id
        self.num_tokens += 1

    def note_logits(self, row_hash: int) -> None:
        """Take the hash of the row of logits that the next token was chosen from into the sequence's own.

        SplitMix64's mixing, of which each step can be undone: whichever of the two changes, so does the result.
        """
        x = (self.logits_hash * 0x9E3779B97F4A7C15 + row_hash) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        self.logits_hash = x ^ (x >> 31)
