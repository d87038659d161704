"""Logprobs in the shapes that the clients know: chat's, the legacy one of completions, and vLLM's of a prompt."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from pennyweight.server.types import TokenLogprob, TopLogprob

# JSON has no -Infinity; OpenAI documents -9999.0 for a token outside of the reported ones.
LEAST_LOGPROB = -9999.0


def token_text(token: TopLogprob) -> str:
    """The token's text; bytes that are no UTF-8 of their own as OpenAI writes them, ``bytes:\\xf0\\x9f``."""
    try:
        token.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
    return token.token


def _clamped(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)


def _chat_entry(token: TopLogprob) -> dict[str, Any]:
    return {"token": token_text(token), "logprob": _clamped(token.logprob), "bytes": list(token.bytes)}


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """``choices[].logprobs`` of a chat completion."""
    content = [_chat_entry(token) | {"top_logprobs": [_chat_entry(one) for one in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


class LegacyLogprobs:
    """``choices[].logprobs`` of a plain completion, made piece by piece.

    ``text_offset`` counts characters from the beginning of the choice's text, the echoed prompt included.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def prompt(self, tokens: Sequence[TokenLogprob | None], first_token: str, text: str) -> dict[str, Any]:
        """The part of an echoed prompt. The first token has no logprob, as nothing precedes it."""
        found = _empty()
        for token in tokens:
            name = first_token if token is None else token_text(token)
            piece = first_token if token is None else self._decoder.decode(token.bytes)
            _add(found, name, self._offset, token)
            # A special token that the tokenizer added is no part of the text.
            if text.startswith(piece, self._offset):
                self._offset += len(piece)
        self._offset = len(text)
        self._decoder.reset()
        return found

    def completion(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The part of newly chosen tokens."""
        found = _empty()
        for token in tokens:
            _add(found, token_text(token), self._offset, token)
            self._offset += len(self._decoder.decode(token.bytes))
        return found


def _empty() -> dict[str, Any]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def _add(found: dict[str, Any], name: str, offset: int, token: TokenLogprob | None) -> None:
    found["tokens"].append(name)
    found["text_offset"].append(offset)
    if token is None:
        found["token_logprobs"].append(None)
        found["top_logprobs"].append(None)
        return
    found["token_logprobs"].append(_clamped(token.logprob))
    top = {token_text(one): _clamped(one.logprob) for one in token.top}
    found["top_logprobs"].append(top | {name: _clamped(token.logprob)})


def join_legacy(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several parts as one."""
    return {name: [item for part in parts for item in part[name]] for name in _empty()}


def prompt_logprobs(tokens: Sequence[TokenLogprob | None]) -> list[dict[str, Any] | None]:
    """vLLM's shape: for each prompt token a map from token ids to logprob, rank (1 is best, if known) and text."""
    return [None if token is None else _ranked(token) for token in tokens]


def _ranked(token: TokenLogprob) -> dict[str, Any]:
    found = {
        str(one.token_id): {"logprob": _clamped(one.logprob), "rank": rank, "decoded_token": token_text(one)}
        for rank, one in enumerate(token.top, start=1)
    }
    chosen = {"logprob": _clamped(token.logprob), "rank": None, "decoded_token": token_text(token)}
    return {str(token.token_id): found.get(str(token.token_id), chosen)} | found
