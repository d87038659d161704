"""A text's words, of any language, and what is looked up for them."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence

# Scripts that are written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han. Two characters in a row take a word's place.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
# Inflected forms mostly begin alike. (Words cut to a fixed length, as a stemmer for no particular language: McNamee and Mayfield, Character
# N-Gram Tokenization for European Language Text Retrieval, 2004.)
STEM = 5


def words(text: str) -> list[str]:
    """The words of a text in their order: letters, marks and digits in a row, in Unicode's form KC with case folded."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for is_word, characters in itertools.groupby(folded, _is_in_word):
        if is_word:
            found += _parts("".join(characters))
    return found


def terms(found: Sequence[str]) -> list[str]:
    """What is looked up for words: each as it is, and of a long one its beginning besides."""
    stems = [f"{word[:STEM]}*" for word in found if len(word) >= STEM and not word.isdecimal()]
    return [*found, *stems]


@functools.lru_cache(maxsize=4096)
def _is_in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _parts(word: str) -> list[str]:
    if word.isascii():
        return [word]
    found: list[str] = []
    for place, part in enumerate(_UNSPACED.split(word)):
        if place % 2 == 0:
            found += [part] if part else []
        else:
            found += [part[at : at + 2] for at in range(len(part) - 1)] or [part]
    return found
