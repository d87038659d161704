"""Ordinary words that are one token each: what prompts of an exact length are made of, as token ids or as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
from tokenizers import Tokenizer

from .endpoint import Endpoint
from .sample import BadAnswer

# A word with the space before it, as byte-level ("Ġ") and SentencePiece ("▁") vocabularies spell it, or as plain text.
WORD = re.compile(r"[Ġ▁ ]([a-z]{2,})")
ASK_SECONDS = 60
WORDS_AT_ONCE = 2000


class Vocabulary:
    """Words by token id. In a text, each with a space before it, they are tokenised as these ids and nothing else."""

    def __init__(self, words: Mapping[int, str]) -> None:
        self._words = dict(sorted(words.items()))

    @cached_property
    def ids(self) -> list[int]:
        """In ascending order."""
        return list(self._words)

    def text(self, ids: Sequence[int]) -> str:
        """The words of these ids."""
        return " " + " ".join([self._words[number] for number in ids])


def read_vocabulary(path: Path) -> Vocabulary:
    """The words of a tokenizer.json, or of that in a model's directory. Raises ValueError."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"there is no {file}; name a tokenizer.json or a directory with one")
    try:
        vocabulary = Tokenizer.from_file(str(file)).get_vocab()
    except Exception as error:  # the library raises this very type
        raise ValueError(f"{file} is no tokenizer.json: {error}") from error
    return Vocabulary({number: found[1] for text, number in vocabulary.items() if (found := WORD.fullmatch(text))})


async def ask_vocabulary(endpoint: Endpoint) -> Vocabulary:
    """The words that the server's POST /tokenize (Pennyweight's, vLLM's) says are one token.

    They are sought among the words of Python's own help texts, so another Python may find others. Raises BadAnswer where
    there is no such path.
    """
    from pydoc_data.topics import topics

    candidates = sorted({word for text in topics.values() for word in re.findall(r"[a-z]{2,}", text)})
    url = f"{endpoint.url}/tokenize"
    words: dict[int, str] = {}
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    try:
        async with aiohttp.ClientSession(headers=endpoint.headers, timeout=timeout) as session:
            for at in range(0, len(candidates), WORDS_AT_ONCE):
                prompt = " " + " ".join(candidates[at : at + WORDS_AT_ONCE])
                question = {
                    "model": endpoint.model,
                    "prompt": prompt,
                    "add_special_tokens": False,
                    "return_token_strs": True,
                }
                async with session.post(url, json=question) as response:
                    if response.status != 200:
                        raise BadAnswer(
                            f"{url} gives no tokens (status {response.status}); name the model's tokenizer by --tokenizer"
                        )
                    words |= _whole_words(await response.json(), prompt)
    except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError) as error:
        raise BadAnswer(f"{url} gives no tokens ({error!r}); name the model's tokenizer by --tokenizer") from error
    return Vocabulary(words)


def _whole_words(answer: Mapping[str, Any], prompt: str) -> dict[int, str]:
    """Of a text's tokens, those that are a whole word of it: the next token begins with a space again."""
    tokens, texts = answer["tokens"], answer["token_strs"]
    if not isinstance(texts, list) or len(texts) != len(tokens):
        raise ValueError(f"no token_strs for {prompt[:20]!r}...")
    starts = [text[:1] in ("Ġ", "▁", " ") for text in texts] + [True]
    return {
        token: found[1]
        for token, text, starts_next in zip(tokens, texts, starts[1:], strict=True)
        if starts_next and (found := WORD.fullmatch(text))
    }
