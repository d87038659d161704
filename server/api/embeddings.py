"""POST /v1/embeddings."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from pennyweight.server.config import LimitSettings
from pennyweight.server.deadline import until
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Embeddings, EmbedRequest, TextPrompt

from .completion_request import to_prompts
from .exchange import Answer, Call, Observer, json_answer
from .fields import Count, TokenId
from .parameters import REFUSED_IN_EMBEDDINGS
from .reading import read


class EmbeddingRequest(msgspec.Struct, kw_only=True, frozen=True):
    """Texts or token ids, each to be turned into a vector; ``base64`` is of its numbers as little-endian float32."""

    model: str
    input: str | list[str | TokenId | list[TokenId]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None


async def create_embedding(call: Call) -> Answer:
    """Turn texts into vectors. Raises PennyweightError."""
    wire, headers = read(call, EmbeddingRequest, refused=REFUSED_IN_EMBEDDINGS)
    engine = await call.engine(wire.model, call.deadline)
    request = to_embed_request(wire, call.settings.limits, request_id=call.request_id, arrival=call.arrival)
    async with until(call.deadline):
        found = await _observed(engine, request, call.observer)
    encode = _base64 if wire.encoding_format == "base64" else _floats
    return json_answer(_body(wire.model, found, encode), headers=headers)


def to_embed_request(wire: EmbeddingRequest, limits: LimitSettings, *, request_id: str, arrival: float) -> EmbedRequest:
    """The engine-neutral request. Raises InvalidRequest."""
    inputs = to_prompts(wire.input, limits.max_embedding_inputs, add_special_tokens=True, param="input")
    is_list = not isinstance(wire.input, str) and not isinstance(wire.input[0], int)
    for place, one in enumerate(inputs):
        if isinstance(one, TextPrompt) and not one.text:
            param = f"input[{place}]" if is_list else "input"
            raise InvalidRequest(f"Invalid '{param}': it must not be empty.", param=param)
    return EmbedRequest(
        id=request_id,
        model=wire.model,
        inputs=tuple(inputs),
        is_list=is_list,
        dimensions=wire.dimensions,
        arrival=arrival,
    )


async def _observed(engine: Engine, request: EmbedRequest, observer: Observer) -> Embeddings:
    """What the engine gives, of which the observer is told."""
    observer.submitted(request)
    try:
        found = await engine.embed(request)
    except Exception as error:
        observer.failed(request, error)
        raise
    except BaseException:
        observer.abandoned(request)
        raise
    observer.embedded(request, found)
    return found


def _body(model: str, found: Embeddings, encode: Callable[[bytes], str | list[float]]) -> dict[str, Any]:
    usage = found.usage
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(found.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens},
    }


def _base64(vector: bytes) -> str:
    return binascii.b2a_base64(vector, newline=False).decode("ascii")


def _floats(vector: bytes) -> list[float]:
    found: list[float] = np.frombuffer(vector, dtype="<f4").tolist()
    return found
