"""Calibration data as a model takes it: pieces of equal length in tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pennyweight.quantize.errors import QuantizeError

from .documents import Document

SHUFFLE_SEED = 0


class Tokenizer(Protocol):
    """What is needed of a tokenizer of transformers."""

    chat_template: Any
    bos_token_id: int | None
    eos_token_id: int | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], *, tokenize: bool) -> Any: ...


def make_pieces(documents: Iterable[Document], tokenizer: Tokenizer, length: int, count: int) -> list[list[int]]:
    """At most ``count`` pieces of ``length`` tokens, spread over the documents; one shorter piece where there is less text.

    Documents are put into an order of chance, the same each time, and joined: so every piece is full, and no long document stands
    for all. Raises QuantizeError where there is no text.
    """
    encoded = [_encoded(document, tokenizer) for document in documents]
    random.Random(SHUFFLE_SEED).shuffle(encoded)
    stream = [token for tokens in encoded for token in tokens]
    if not stream:
        raise QuantizeError("the calibration data has no text")
    pieces = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)] or [stream]
    return _spread(pieces, count)


def _encoded(document: Document, tokenizer: Tokenizer) -> list[int]:
    """A chat in the model's template, where it has one; a text between the tokens that begin and end one."""
    if isinstance(document, list) and tokenizer.chat_template:
        return tokenizer.encode(tokenizer.apply_chat_template(document, tokenize=False), add_special_tokens=False)
    text = document if isinstance(document, str) else "\n\n".join(message["content"] for message in document)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [*begin, *tokens, *end]


def _spread(pieces: Sequence[list[int]], count: int) -> list[list[int]]:
    """``count`` of the pieces at equal distances; all where there are no more."""
    if len(pieces) <= count:
        return list(pieces)
    return [pieces[index * len(pieces) // count] for index in range(count)]
