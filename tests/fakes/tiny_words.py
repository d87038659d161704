"""A tokenizer file of a few hundred words, enough to make prompts from."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel


def save_word_tokenizer(path: Path) -> None:
    """Write a tokenizer.json of 676 words, and of as many entries that are none."""
    pairs = ["".join(pair) for pair in itertools.product(string.ascii_lowercase, repeat=2)]
    entries = ["<unk>", *(f"Ġ{pair}" for pair in pairs), *pairs]
    Tokenizer(WordLevel({entry: number for number, entry in enumerate(entries)}, unk_token="<unk>")).save(str(path))
