"""What is made of an upstream's answer to /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from pennyweight.server.engines.upstream.embedding import embedding_fields, embeddings_of
from pennyweight.server.errors import UpstreamFailed
from pennyweight.server.types import EmbedRequest, TextPrompt, TokensPrompt

REQUEST = EmbedRequest(id="1", model="m", inputs=(TextPrompt(text="four"), TokensPrompt(token_ids=(1, 2))))
ONE, TWO = np.array([1.0, 2.0], "<f4"), np.array([3.0, 4.0], "<f4")


def row(index: int, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def test_vectors_come_in_the_order_of_the_inputs_however_they_are_written() -> None:
    data = [row(1, TWO.tolist()), row(0, base64.b64encode(ONE.tobytes()).decode())]
    found = embeddings_of({"data": data, "usage": {"prompt_tokens": 7}}, REQUEST)
    assert found.vectors == (ONE.tobytes(), TWO.tobytes())
    assert (found.usage.prompt_tokens, found.usage.is_estimated) == (7, False)


def test_usage_that_is_not_told_is_estimated() -> None:
    found = embeddings_of({"data": [row(0, [1.0]), row(1, [1.0])]}, REQUEST)
    assert (found.usage.prompt_tokens, found.usage.is_estimated) == (3, True)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [row(0, [1.0])],
        [row(0, [1.0]), row(2, [1.0])],
        [row(0, []), row(1, [1.0])],
        [row(0, "not base64"), row(1, [1.0])],
        [row(0, base64.b64encode(b"abc").decode()), row(1, [1.0])],
        [row(0, {"a": 1}), row(1, [1.0])],
    ],
)
def test_an_answer_that_is_none_is_the_upstreams_failure(data: Any) -> None:
    with pytest.raises(UpstreamFailed):
        embeddings_of({"data": data}, REQUEST)


def test_inputs_are_sent_as_they_are_and_vectors_asked_for_in_base64() -> None:
    assert embedding_fields(REQUEST) == {"input": ["four", [1, 2]], "encoding_format": "base64"}
