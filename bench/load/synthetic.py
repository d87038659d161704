"""Prompts of an exact length in tokens, each unlike the others, so that no prefix cache can answer for the engine."""

from __future__ import annotations

import random
import re
from pathlib import Path

from tokenizers import Tokenizer

# A word with the space before it, as byte-level ("Ġ") and SentencePiece ("▁") vocabularies spell it.
WORD = re.compile(r"[Ġ▁][a-z]{2,}")


def make_prompts(tokenizer: Path, *, count: int, tokens: int, seed: int = 0) -> list[list[int]]:
    """``count`` prompts of ``tokens`` token ids each: ordinary words in random order, no two with the same first word.

    The same arguments give the same prompts. Token ids are sent as they are, so every server computes the same work,
    whatever its template would add. Raises ValueError when the vocabulary of ``tokenizer`` (a tokenizer.json) has
    fewer words than there are prompts.
    """
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    words = sorted(number for text, number in vocabulary.items() if WORD.fullmatch(text))
    if len(words) < max(count, tokens):
        raise ValueError(f"{tokenizer} has {len(words)} ordinary words, too few for {count} prompts of {tokens}")
    generator = random.Random(seed)
    return [[first, *generator.choices(words, k=tokens - 1)] for first in generator.sample(words, count)]
