"""Multiple-choice questions: which answer a model finds most likely, and how often that is the right one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .bootstrap import Estimate, Resamples

FORMS = '{"question": "...", "choices": ["...", ...], "answer": 0} or {"prompt": "... A. ... Answer:"}'
# What the choices of a question that lists them itself are called, as MMLU's are (arXiv:2009.03300).
LETTERS = ("A", "B", "C", "D")
ASKS = "Answer:"


class Question(msgspec.Struct, frozen=True):
    """A text that a choice follows after a space. ``answer`` is the right one's place, None where nobody has said it."""

    context: str
    choices: tuple[str, ...]
    answer: int | None = None


class ChoiceScores(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``questions``, ``answered`` have a right answer: accuracies are shares of those; ``agreement`` is the share of all
    to which both models give the same answer. Intervals are over questions.
    """

    questions: int
    answered: int
    base_accuracy: Estimate | None
    accuracy: Estimate | None
    agreement: Estimate


def read_questions(path: Path) -> list[Question]:
    """The questions of a file in JSON Lines, which may be gzipped. ``answer`` is a place (from 0) or the choice itself.

    A row with a ``prompt`` is taken as it stands, with the choices A to D, if it ends in "Answer:", and left out if not. Raises
    ValueError with the line's number, and OSError.
    """
    found = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                question = _question(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            if question is not None:
                found.append(question)
    if not found:
        raise ValueError(f"{path} has no questions; write {FORMS}")
    return found


def choose(logprobs: Sequence[float], choices: Sequence[str]) -> int:
    """The place of the choice with the greatest log-probability for each of its bytes; of equals the first.

    By the byte, because otherwise short choices would win, and because bytes don't depend on the tokenizer.
    """
    return int(np.argmax([total / len(choice.encode()) for total, choice in zip(logprobs, choices, strict=True)]))


def summarise(
    questions: Sequence[Question], base: Sequence[int], other: Sequence[int], seed: int = 0
) -> ChoiceScores | None:
    """The scores of what both models chose; None of no questions."""
    if not questions:
        return None
    pairs = zip(questions, base, other, strict=True)
    known = [
        (one.answer == of_base, one.answer == of_other) for one, of_base, of_other in pairs if one.answer is not None
    ]
    of_known = Resamples(len(known), seed) if known else None
    return ChoiceScores(
        questions=len(questions),
        answered=len(known),
        base_accuracy=None if of_known is None else _share(of_known, (right for right, _ in known)),
        accuracy=None if of_known is None else _share(of_known, (right for _, right in known)),
        agreement=_share(Resamples(len(questions), seed), np.equal(base, other)),
    )


def _share(resamples: Resamples, holds: Iterable[bool]) -> Estimate:
    values = [float(one) for one in holds]
    return resamples.mean(values, np.ones(len(values)))


def _question(row: Any) -> Question | None:
    match row:
        case {"question": str(text), "choices": [str(), str(), *_] as choices}:
            return Question(f"Question: {text}\n{ASKS}", tuple(choices), _place(row.get("answer"), choices))
        case {"prompt": str(text)}:
            return Question(text, LETTERS) if text.rstrip().endswith(ASKS) else None
    raise ValueError(f"no question in it; write {FORMS}")


def _place(answer: Any, choices: Sequence[str]) -> int | None:
    if answer is None:
        return None
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise ValueError(
        f"answer is {answer!r}, which is none of the {len(choices)} choices, nor a place among them from 0"
    )
