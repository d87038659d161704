"""How alike two answers are."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words and marks of punctuation, without what is between them."""
    return WORD.findall(text)


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L's F1 over words (Lin, 2004): twice their longest common subsequence over the words of both, from 0 to 1.

    Two answers without a word are alike.
    """
    left, right = words(one), words(other)
    if not (left or right):
        return 1.0
    return 2 * _common(left, right) / (len(left) + len(right))


def _common(left: list[str], right: list[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time."""
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for place, other in enumerate(right, 1):
            above = row[place]
            row[place] = before + 1 if word == other else max(above, row[place - 1])
            before = above
    return row[-1]
