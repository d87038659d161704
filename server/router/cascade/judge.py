"""What judges a whole answer, before it is given or dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pennyweight.server.types import DroppedAnswer, Request

from .whole_answer import WholeAnswer


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is sure enough, and why in a few words. ``spent`` are answers that were made to find that out."""

    is_sure: bool
    reason: str
    spent: tuple[DroppedAnswer, ...] = ()


# Has the model that gave an answer asked something else. Raises what its engine raises.
Ask = Callable[[Request], Awaitable[WholeAnswer]]


class Judge(Protocol):
    """Same request and answer, same verdict.

    ``alternatives`` is of how many of the likeliest tokens at each position it reads the logprobs; 0 where it reads none.
    """

    name: str
    alternatives: int

    async def judge(self, request: Request, answer: WholeAnswer, ask: Ask) -> Verdict | None:
        """What it says of the answer; None where it has no word to say, for the request asks for nothing that it knows of.

        Raises only what ends the request: ShuttingDown and DeadlineExceeded.
        """
        ...
