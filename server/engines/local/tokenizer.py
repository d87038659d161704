"""A model's tokenizer as the engine uses it: text to ids, ids to text, and the bytes of each single token."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from pennyweight.server.errors import ModelError

from .gguf_file import GGUFFile
from .gguf_tokenizer import tokenizer_of

TOKENIZER_FILE = "tokenizer.json"
# So many characters for each token that there is room for are looked at first: few texts that fit are longer.
SEEN_PER_TOKEN = 8
# Cut where a token is, a beginning has a few tokens more than in the whole text: at most the bytes of the longest one.
CUT_MARGIN = 128
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """Wraps a ``tokenizers.Tokenizer``. Safe to use from several threads.

    ``to_json`` gives the text of its tokenizer.json, and ``hash`` is a digest of that text.
    """

    def __init__(self, inner: tokenizers.Tokenizer, to_json: Callable[[], str]) -> None:
        self._inner = inner
        self.to_json = to_json
        self.hash = hashlib.sha256(to_json().encode()).hexdigest()
        added = inner.get_added_tokens_decoder()
        self._added = {token_id: token.content for token_id, token in added.items()}
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._is_byte_level = _is_byte_level(inner)
        self._bytes: dict[int, bytes] = {}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The ids of a text; special tokens written in it are recognised."""
        ids: list[int] = self._encoding(text, add_special_tokens).ids
        return ids

    def encode_at_most(self, limit: int | None, text: str, *, add_special_tokens: bool) -> tokenizers.Encoding | None:
        """What has the ``ids`` of a text, or None when they are certainly more than ``limit``.

        The work is bounded by the limit and not by the text: only a beginning is tokenised of one that is far too long.
        Nothing but the library runs for long, and other threads of Python meanwhile.
        """
        if limit is not None:
            size = max(limit, CUT_MARGIN) * SEEN_PER_TOKEN
            while size < len(text):
                if len(self._encoding(text[:size], add_special_tokens)) > limit + CUT_MARGIN:
                    return None
                size *= 2
        return self._encoding(text, add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._inner.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        return text

    def has_token(self, token: str) -> bool:
        """Whether the vocabulary has this very token."""
        return self._inner.token_to_id(token) is not None

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text; empty for an id of the model's that the tokenizer doesn't know."""
        found = self._bytes.get(token_id)
        if found is None:
            found = self._bytes[token_id] = self._bytes_of(token_id)
        return found

    def token_text(self, token_id: int) -> str:
        """The same as text; bytes that are no UTF-8 of their own become U+FFFD."""
        return self.token_bytes(token_id).decode(errors="replace")

    def _encoding(self, text: str, add_special_tokens: bool) -> tokenizers.Encoding:
        # A batch of one, because that lets other threads of Python run meanwhile; "fast" leaves out the offsets.
        (encoding,) = self._inner.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return encoding

    def _bytes_of(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._inner.id_to_token(token_id)
        if token is None:
            return b""
        if self._is_byte_level:
            # All of it or nothing, as the library decodes it.
            is_spelled = _BYTE_OF.keys() >= set(token)
            return b"".join(_BYTE_OF[char] for char in token) if is_spelled else token.encode()
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(byte[1], 16)])
        return token.replace("\u2581", " ").encode()


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of the model in a directory in Hugging Face format or a .gguf file. Raises ModelError."""
    if path.suffix == ".gguf":
        inner = tokenizer_of(GGUFFile(path))
        text = inner.to_str()
        return Tokenizer(inner, lambda: text)
    file = path / TOKENIZER_FILE
    if not file.is_file():
        raise ModelError(
            f"{path} has no {TOKENIZER_FILE}; convert its tokenizer once with transformers "
            "(AutoTokenizer.from_pretrained, then save_pretrained)"
        )
    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # what the Rust side raises has no narrower type
        raise ModelError(f"{file} can't be read as a tokenizer: {error}") from error
    inner.no_truncation()
    inner.no_padding()
    return Tokenizer(inner, lambda: file.read_text(encoding="utf-8"))


def _is_byte_level(inner: tokenizers.Tokenizer) -> bool:
    """Whether tokens are spelled in GPT-2's alphabet of bytes, as the decoder tells."""
    if inner.decoder is None:
        return False
    state: dict[str, Any] = json.loads(inner.decoder.__getstate__())
    parts = state.get("decoders", [state])
    return any(part.get("type") == "ByteLevel" for part in parts)


def _byte_alphabet() -> dict[str, bytes]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others are moved to U+0100 and on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    return alphabet | {chr(0x100 + place): bytes([byte]) for place, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
