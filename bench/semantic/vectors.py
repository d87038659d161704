"""The questions' vectors, by a server that is started for them; kept in a file, for they take minutes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import numpy.typing as npt

from pennyweight.bench.peers.pennyweight import Pennyweight
from pennyweight.bench.peers.process import running

from .neighbours import Vectors

BATCH = 256
# Characters that are sent of a question: within the window of any embedder.
LONGEST = 512
KV_CACHE_GIB = 1  # of no use to an encoder, but the command has it


class _Vector(msgspec.Struct):
    embedding: str


class _Answer(msgspec.Struct):
    data: list[_Vector]


async def embed(model: str, texts: Sequence[str], on_progress: Callable[[int], None]) -> Vectors:
    """Vectors [texts, dimensions] of length 1. Raises PeerFailed for a model that can't be served, and aiohttp.ClientError."""
    found: list[npt.NDArray[np.float32]] = []
    peer = Pennyweight(Path(model), "auto", KV_CACHE_GIB, options=("--served-model-name", "embedder"))
    timeout = aiohttp.ClientTimeout(total=600)
    async with (
        running(peer) as server,
        aiohttp.ClientSession(server.url, timeout=timeout, raise_for_status=True) as client,
    ):
        for first in range(0, len(texts), BATCH):
            body: dict[str, Any] = {
                "model": "embedder",
                "input": [text[:LONGEST] for text in texts[first : first + BATCH]],
                "encoding_format": "base64",
            }
            async with client.post("/v1/embeddings", json=body) as answer:
                decoded = msgspec.json.decode(await answer.read(), type=_Answer)
            found += [np.frombuffer(base64.b64decode(one.embedding), dtype="<f4") for one in decoded.data]
            on_progress(len(found))
    vectors = np.array(found, dtype=np.float32)
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def read_vectors(path: Path, model: str, texts: Sequence[str]) -> Vectors | None:
    """The vectors that a file has of the texts by a model; None where it lacks any."""
    if not path.exists():
        return None
    with np.load(path) as stored:
        if str(stored["model"]) != model:
            return None
        places = {one.tobytes(): place for place, one in enumerate(stored["digests"])}
        try:
            return np.asarray(stored["vectors"][[places[_digest(text)] for text in texts]], dtype=np.float32)
        except KeyError:
            return None


def write_vectors(path: Path, model: str, texts: Sequence[str], vectors: Vectors) -> None:
    """Keep vectors in a file."""
    digests = np.frombuffer(b"".join(map(_digest, texts)), dtype=np.uint8).reshape(len(texts), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, model=np.array(model), digests=digests, vectors=vectors)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
