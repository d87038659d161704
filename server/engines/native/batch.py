"""What the scheduler hands to the model runner, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .sequence import Sequence


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """``num_new`` tokens of a sequence, from its ``num_computed`` on. A token is chosen when that reaches its last token."""

    sequence: Sequence
    num_new: int

    @property
    def samples(self) -> bool:
        return self.sequence.num_computed + self.num_new == self.sequence.num_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's work, in the order in which the rows lie in the step."""

    items: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        return sum(item.num_new for item in self.items)


@dataclass(frozen=True, slots=True)
class PositionLogprobs:
    """Logprobs at one position: of the token that stands there and of the most probable ones, float32 natural logs."""

    token_logprob: float
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]


@dataclass(slots=True)
class StepResult:
    """What a step chose. ``token_ids[i]`` belongs to the i-th item that samples (in the batch's order).

    ``logprobs[i]`` is None where not asked for. ``prompt_logprobs`` maps a sequence's position in the batch's items to
    the logprobs of the prompt tokens that this step computed (entry j is about the token at num_computed + j + 1).
    ``row_hashes`` are of the rows of logits that tokens were chosen from, by the places of these in ``token_ids``, where asked for.
    """

    token_ids: NDArray[np.int32]
    logprobs: list[PositionLogprobs | None] = field(default_factory=list)
    prompt_logprobs: dict[int, list[PositionLogprobs]] = field(default_factory=dict)
    row_hashes: dict[int, int] = field(default_factory=dict)
