"""How sure a model was of its answer's tokens, by the probabilities that it gave them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Over = Literal["mean", "least"]
# Of how many of the likeliest tokens at each position the logprobs are read.
ALTERNATIVES = 2


def margin(logprobs: Sequence[Sequence[float]], over: Over) -> float | None:
    """From 0 (two tokens were equally likely) to 1 (no doubt): p(likeliest) - p(next) at each position, their mean or the least.

    ``logprobs`` has those of the likeliest tokens at each position, the likeliest first. None without positions, or where one has none.
    """
    if not logprobs or not all(logprobs):
        return None
    margins = [_at(one) for one in logprobs]
    return min(margins) if over == "least" else math.fsum(margins) / len(margins)


def _at(logprobs: Sequence[float]) -> float:
    first, *others = (math.exp(min(one, 0.0)) for one in logprobs[:ALTERNATIVES])
    # Of a next one that is not told no more is left than the likeliest leaves.
    return first - (others[0] if others else 1.0 - first)
