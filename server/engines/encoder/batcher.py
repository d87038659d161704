"""Which of the waiting inputs go into the next forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]

# So many times a pass's inputs are looked at for such of nearly one length.
WINDOW = 4


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One input of a request: its place there and its tokens."""

    request_id: str
    place: int
    token_ids: TokenIds

    def __len__(self) -> int:
        return len(self.token_ids)


class Batcher:
    """Takes requests in turn, one input of each, so that one with thousands holds up nobody for long.

    A pass has at most ``max_inputs`` inputs, and its padded rows at most ``max_tokens`` tokens together, or a single input.
    """

    def __init__(self, *, max_inputs: int, max_tokens: int) -> None:
        self._max_inputs = max_inputs
        self._max_tokens = max_tokens
        # By request, in the order in which they are to be served; each one's inputs by place, shortest first.
        self._waiting: dict[str, dict[int, Input]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def add(self, request_id: str, inputs: Sequence[TokenIds]) -> None:
        """Queue a request that has at least one input."""
        found = [Input(request_id, place, token_ids) for place, token_ids in enumerate(inputs)]
        self._waiting[request_id] = {one.place: one for one in sorted(found, key=len)}

    def drop(self, request_id: str) -> None:
        """Forget what of a request still waits, if anything does."""
        self._waiting.pop(request_id, None)

    def next_pass(self) -> list[Input]:
        """Inputs to be computed together, shortest first; they no longer wait.

        The first input of the request whose turn it is leads; those of lengths nearest to its own go with it, which leaves
        little padding.
        """
        window = list(itertools.islice(self._in_turn(), WINDOW * self._max_inputs))
        leader = len(window[0])
        window.sort(key=lambda one: abs(len(one) - leader))  # stable: of equal ones, the one whose turn is sooner
        taken: list[Input] = []
        longest = 0
        for one in window:
            longest = max(longest, len(one))
            if taken and (len(taken) == self._max_inputs or (len(taken) + 1) * longest > self._max_tokens):
                break
            taken.append(one)
        for one in taken:
            left = self._waiting.pop(one.request_id)
            del left[one.place]
            if left:
                self._waiting[one.request_id] = left  # behind those that got nothing
        return sorted(taken, key=len)

    def _in_turn(self) -> Iterator[Input]:
        rounds = itertools.zip_longest(*(inputs.values() for inputs in self._waiting.values()))
        return (one for inputs in rounds for one in inputs if one is not None)
