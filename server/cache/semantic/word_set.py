"""Lists of words, as they are written down."""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """The words of a text that has nothing else."""
    return frozenset(words.split())
