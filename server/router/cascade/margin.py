"""How sure a model was of its answer's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pennyweight.server.types import Request, TokenLogprob

from .calibration import Calibration
from .judge import Ask, Verdict
from .whole_answer import WholeAnswer

Over = Literal["mean", "least"]


def margin(tokens: Sequence[TokenLogprob], over: Over) -> float | None:
    """From 0 (two tokens were equally likely) to 1 (no doubt): p(likeliest) - p(next) at each position, their mean or the least.

    None without tokens, or where a position has no alternatives. The probabilities are those before temperature and truncation.
    """
    if not tokens or any(not token.top for token in tokens):
        return None
    margins = [_at(token) for token in tokens]
    return min(margins) if over == "least" else math.fsum(margins) / len(margins)


def _at(token: TokenLogprob) -> float:
    first, *others = (math.exp(one.logprob) for one in token.top[:2])
    # Of a next one that is not told no more is left than the likeliest leaves.
    return first - (others[0] if others else 1.0 - first)


class MarginJudge:
    """The margin is to be at least ``least``; with a calibration, the share of right answers that it stands for is."""

    name = "margin"
    alternatives = 2

    def __init__(self, over: Over, least: float, calibration: Calibration | None = None) -> None:
        self._over = over
        self._least = least
        self._calibration = calibration

    async def judge(self, request: Request, answer: WholeAnswer, ask: Ask) -> Verdict | None:
        found = margin(answer.logprobs(), self._over)
        if found is None:
            return Verdict(False, "margin not known")
        if self._calibration is None:
            return _compared("margin", found, self._least, "")
        right = self._calibration.right(found)
        return _compared("right", right, self._least, f" by margin {found:.2f}")


def _compared(what: str, value: float, least: float, by: str) -> Verdict:
    is_sure = value >= least
    return Verdict(is_sure, f"{what} {value:.2f} {'>=' if is_sure else '<'} {least:g}{by}")
