"""Embeddings over the OpenAI API: what is sent, and what is made of the answer."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec
import numpy as np

from pennyweight.server.engines.token_estimate import estimated_prompt
from pennyweight.server.types import Embeddings, EmbedRequest, TextPrompt, Usage

from .failure import broken


class _Row(msgspec.Struct):
    embedding: str | list[float]
    index: int


class _Usage(msgspec.Struct):
    prompt_tokens: int


class _Body(msgspec.Struct):
    data: list[_Row]
    usage: _Usage | None = None


def embedding_fields(request: EmbedRequest) -> dict[str, Any]:
    """The body's fields. The vectors are asked for in base64, a third of the size of the decimal numbers."""
    inputs = [one.text if isinstance(one, TextPrompt) else list(one.token_ids) for one in request.inputs]
    cut = {} if request.dimensions is None else {"dimensions": request.dimensions}
    return {"input": inputs, "encoding_format": "base64", **cut}


def embeddings_of(answer: dict[str, Any], request: EmbedRequest) -> Embeddings:
    """The vectors in the order of the inputs, as little-endian float32. Raises UpstreamFailed."""
    try:
        body = msgspec.convert(answer, _Body)
        rows = {row.index: _vector(row.embedding) for row in body.data}
        vectors = tuple(rows[place] for place in range(len(request.inputs)))
    except (msgspec.ValidationError, KeyError, ValueError):
        raise broken("The upstream's answer is not what was asked for.").error from None
    if body.usage is not None:
        return Embeddings(vectors=vectors, usage=Usage(prompt_tokens=body.usage.prompt_tokens, completion_tokens=0))
    counted = sum(map(estimated_prompt, request.inputs))
    return Embeddings(vectors=vectors, usage=Usage(prompt_tokens=counted, completion_tokens=0, is_estimated=True))


def _vector(given: str | list[float]) -> bytes:
    # Servers that don't know the parameter answer in numbers.
    vector = (
        binascii.a2b_base64(given, strict_mode=True) if isinstance(given, str) else np.asarray(given, "<f4").tobytes()
    )
    if not vector or len(vector) % 4:
        raise ValueError("no float32 numbers")
    return vector
