"""What the gate and a process that computes with a model say to each other: MessagePack frames over two pipes.

A frame is a 4-byte little-endian length and a struct, encoded as an array with a tag. The process says ``Loaded`` or ``Failed``
first; then each question has its answer, in order, until the questions' pipe is closed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO, Any, TypeVar

import msgspec

HEADER = struct.Struct("<I")

T = TypeVar("T")


class Encode(msgspec.Struct, frozen=True, array_like=True, tag="encode"):
    """Ask for the tokens of a text, with those that the tokenizer puts around one; answered by ``Tokens``."""

    text: str


class Chat(msgspec.Struct, frozen=True, array_like=True, tag="chat"):
    """Ask for the tokens of a user's message in the model's chat template (as a text where it has none): ``Tokens``."""

    message: str


class Logits(msgspec.Struct, frozen=True, array_like=True, tag="logits"):
    """Ask for the logits that each token but the last is followed by, from position ``first`` on.

    Answered by as many ``Rows`` as it takes, each of a step's rows: of a vocabulary of 150,000 tokens tens of megabytes.
    """

    token_ids: list[int]
    first: int


class Logprobs(msgspec.Struct, frozen=True, array_like=True, tag="logprobs"):
    """Ask for the log-probability of each token after position ``first``, given those before it; answered by ``Values``."""

    token_ids: list[int]
    first: int


class Generate(msgspec.Struct, frozen=True, array_like=True, tag="generate"):
    """Ask for greedy answers, of at most so many tokens, to prompts; answered by ``Answers``."""

    prompts: list[list[int]]
    max_tokens: int


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded", kw_only=True):
    """The model is there. Sizes are in bytes.

    ``fingerprint`` is what its numbers depend on, ``details`` how it runs, ``quantization`` what its configuration says of
    how it is quantised. ``weight_bytes`` are the projections' weights as the kernels keep them, ``resident_bytes`` the whole process.
    """

    path: str
    vocab_size: int
    max_model_len: int
    fingerprint: Mapping[str, str]
    details: Mapping[str, str]
    quantization: Mapping[str, Any] | None
    disk_bytes: int
    weight_bytes: int
    resident_bytes: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The model can't be loaded; the message says why."""

    message: str


class Tokens(msgspec.Struct, frozen=True, array_like=True, tag="tokens"):
    """Token ids of one text."""

    token_ids: list[int]


class Rows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """Logits, float32 [rows, V], little-endian."""

    logits: bytes


class Values(msgspec.Struct, frozen=True, array_like=True, tag="values"):
    """Log-probabilities, natural."""

    values: list[float]


class Answers(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """Token ids of each answer, in the prompts' order."""

    token_ids: list[list[int]]


Question = Encode | Chat | Logits | Logprobs | Generate
Answer = Loaded | Failed | Tokens | Rows | Values | Answers

_encoder = msgspec.msgpack.Encoder()
_questions = msgspec.msgpack.Decoder(Question)
_answers = msgspec.msgpack.Decoder(Answer)


def write(stream: IO[bytes], message: Question | Answer) -> None:
    """Send a message. Raises OSError when nobody reads any more."""
    body = _encoder.encode(message)
    stream.write(HEADER.pack(len(body)))
    stream.write(body)
    stream.flush()


def read_question(stream: IO[bytes]) -> Question | None:
    """The next question; None when no more will come."""
    return _read(stream, _questions)


def read_answer(stream: IO[bytes]) -> Answer | None:
    """The next answer; None when the process has ended."""
    return _read(stream, _answers)


def _read(stream: IO[bytes], decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return decoder.decode(body) if len(body) == length else None
