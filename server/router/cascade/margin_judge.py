"""Judges an answer by how sure the model was of its tokens."""

from __future__ import annotations

from pennyweight.server.types import Request

from .calibration import Calibration
from .judge import Ask, Verdict
from .margin import ALTERNATIVES, Over, margin
from .whole_answer import WholeAnswer


class MarginJudge:
    """The margin is to be at least ``least``; with a calibration, the share of right answers that it stands for is.

    The probabilities are those before temperature and truncation. Where they are not known it is not sure.
    """

    name = "margin"
    alternatives = ALTERNATIVES

    def __init__(self, over: Over, least: float, calibration: Calibration | None = None) -> None:
        self._over = over
        self._least = least
        self._calibration = calibration

    async def judge(self, request: Request, answer: WholeAnswer, ask: Ask) -> Verdict | None:
        found = margin([[one.logprob for one in token.top] for token in answer.logprobs()], self._over)
        if found is None:
            return Verdict(False, "margin not known")
        if self._calibration is None:
            return _compared("margin", found, self._least, "")
        return _compared("right", self._calibration.right(found), self._least, f" by margin {found:.2f}")


def _compared(what: str, value: float, least: float, by: str) -> Verdict:
    is_sure = value >= least
    return Verdict(is_sure, f"{what} {value:.2f} {'>=' if is_sure else '<'} {least:g}{by}")
