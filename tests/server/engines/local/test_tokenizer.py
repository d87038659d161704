"""How much of a long text is tokenised before it is known to be too long."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from tokenizers import Encoding

from pennyweight.server.engines.local.tokenizer import CUT_MARGIN, SEEN_PER_TOKEN, Tokenizer, load_tokenizer

TEXTS = {
    "words": "The quick brown fox jumps over the lazy dog. " * 400,
    "spaces": " " * 20_000,
    "letters": "".join(random.Random(1).choices(string.ascii_lowercase, k=20_000)),
    "one letter": "a" * 20_000,
    "digits": "1" * 20_000,
    "lines": "\n" * 20_000,
    "marks": "e\u0301" * 10_000,
    "faces": "\U0001f600" * 5_000,
    "special": "<|im_start|>" * 2_000,
    "dense at the end": " " * 20_000 + "1" * 20_000,
}


@pytest.fixture(scope="module")
def tokenizer(default_model: Path) -> Tokenizer:
    return load_tokenizer(default_model)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_fits_is_never_called_too_long(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    for limit in (len(ids), len(ids) + 1, 2 * len(ids)):
        found = tokenizer.encode_at_most(limit, text, add_special_tokens=False)
        assert found is not None
        assert found.ids == ids


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_does_not_fit_is_told_or_given_whole(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    for limit in (1, 100, len(ids) // 2, len(ids) - 1):
        found = tokenizer.encode_at_most(limit, text, add_special_tokens=False)
        assert found is None or found.ids == ids


@pytest.mark.parametrize("text", ["a", "1", "\n", "\u0301", "ab ", "<|im_start|>"])
def test_only_a_beginning_of_a_text_that_is_far_too_long_is_looked_at(
    tokenizer: Tokenizer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = Tokenizer._encoding

    def counting(self: Tokenizer, text: str, add_special_tokens: bool) -> Encoding:
        seen.append(len(text))
        return encode(self, text, add_special_tokens)

    monkeypatch.setattr(Tokenizer, "_encoding", counting)
    limit = 4 * CUT_MARGIN
    assert tokenizer.encode_at_most(limit, text * 1_000_000, add_special_tokens=False) is None
    assert sum(seen) <= 4 * SEEN_PER_TOKEN * limit
