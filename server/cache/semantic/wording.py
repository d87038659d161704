"""What a text is read for: its words, and what of it may not differ."""

from __future__ import annotations

import re
import unicodedata

import msgspec

from .guards import Guards, guards_of
from .word_set import word_set

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Words that say little of what is asked; those that begin questions are compared apart.
STOP_WORDS = word_set(
    "a an the is are was were be been being am do does did have has had of to in on for at by with from as and or that this these those it "
    "its i me my you your we our they their he she his her one ones there here so very just really also some any all most more can could "
    "will would should shall may might must get got"
)
QUESTION_WORDS = word_set("what which who whom whose when where why how")
SUFFIXES = ("ings", "ing", "edly", "ies", "ied", "ers", "er", "est", "ed", "es", "ly", "s", "e")
SHORTEST_STEM = 3
# What points to something beside the text, that nobody knows to be the same.
POINTING_WORDS = word_set("this these following below above attached here")


class Wording(msgspec.Struct, frozen=True, array_like=True):
    """A text's words: ``stems`` of those that carry meaning, in order, the ``questions`` it asks by, and its characters by threes.

    ``points`` says whether it speaks of something that is not in it.
    """

    stems: tuple[str, ...]
    questions: tuple[str, ...]
    trigrams: frozenset[str]
    words: int
    points: bool
    guards: Guards


def wording_of(text: str) -> Wording:
    """What a text says, and how."""
    words = [
        one.replace("’", "'").removesuffix("'s") for one in WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    ]
    padded = f"  {' '.join(words)} "
    return Wording(
        stems=tuple(_stem(word) for word in words if word not in STOP_WORDS and word not in QUESTION_WORDS),
        questions=tuple(word for word in words if word in QUESTION_WORDS),
        trigrams=frozenset(padded[place : place + 3] for place in range(len(padded) - 2)),
        words=len(words),
        points=not POINTING_WORDS.isdisjoint(words),
        guards=guards_of(text),
    )


def _stem(word: str) -> str:
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            return word[: -len(suffix)]
    return word
