"""What the server's process and an engine's process say to each other: MessagePack frames over a socket pair.

Structs are encoded as arrays with a tag.
"""

from __future__ import annotations

import msgspec

from pennyweight.server.engines.base import EngineWork
from pennyweight.server.engines.frames import pack_frame
from pennyweight.server.types import Adapter, BeamScore, BeamSearch, Constraint, FinishReason

from .token_choice import TokenChoice


class Submit(msgspec.Struct, frozen=True, array_like=True, tag="submit", kw_only=True):
    """A request with its prompt tokenised (int32, little-endian) and every default filled in; a choice for each seed.

    ``salt`` is of what must be alike for keys and values to be shared: tenant and adapter. ``is_seeded`` says that
    the seeds follow from one that the request gave, and are not random. With ``hash_logits`` progress carries hashes of the logits.
    With a ``beam_search`` all choices are found by one search.
    """

    request_id: str
    prompt: bytes
    choice: TokenChoice
    seeds: tuple[int, ...]
    max_tokens: int
    priority: int
    arrival: float
    constraint: Constraint | None = None
    is_seeded: bool = False
    adapter: Adapter | None = None
    salt: bytes = b""
    hash_logits: bool = False
    beam_search: BeamSearch | None = None


class Embed(msgspec.Struct, frozen=True, array_like=True, tag="embed", kw_only=True):
    """Inputs to be turned into vectors, each tokenised (int32, little-endian). Only encoders are sent it."""

    request_id: str
    inputs: tuple[bytes, ...]
    dimensions: int | None = None


class Abort(msgspec.Struct, frozen=True, array_like=True, tag="abort"):
    """Drop a request, or one choice of it, and free what it holds."""

    request_id: str
    index: int | None = None


class Sleep(msgspec.Struct, frozen=True, array_like=True, tag="sleep"):
    """Give up what the model takes, down to a level that ``Ready`` has named; no request is under way."""

    level: int


class Wake(msgspec.Struct, frozen=True, array_like=True, tag="wake"):
    """Take requests again, which ``Ready`` tells."""


class Asleep(msgspec.Struct, frozen=True, array_like=True, tag="asleep"):
    """What ``Sleep`` asked for has been done."""


class Loading(msgspec.Struct, frozen=True, array_like=True, tag="loading"):
    """How far the weights have been loaded, in bytes."""

    done: int
    total: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready", kw_only=True):
    """The model is loaded and takes requests. ``embedding_sizes`` are an encoder's: it makes vectors and no text.

    ``sleep_levels`` are those that ``Sleep`` may ask for. ``variance`` says why the same request's logits may differ with what else runs,
    empty where they are the same to the bit, and ``adapter_variance`` why they may where it has an adapter. ``fingerprint`` are
    parts of the manifest.
    """

    max_model_len: int
    vocab_size: int
    num_blocks: int
    block_size: int
    fingerprint: dict[str, str]
    details: dict[str, str]
    variance: str
    adapter_variance: str = ""
    embedding_sizes: frozenset[int] = frozenset()
    sleep_levels: frozenset[int] = frozenset()


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The model can't be loaded, or woken. ``is_permanent`` says that starting again would not help."""

    message: str
    is_permanent: bool = True


class Logprobs(msgspec.Struct, frozen=True, array_like=True):
    """Logprobs at one position: of the token that stands there, and of the most probable ones."""

    token_id: int
    logprob: float
    top_ids: list[int]
    top_logprobs: list[float]


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What a step added to one choice. ``logits_hashes`` are 8 bytes for each of ``token_ids``, where the request asked for them.

    ``cached_tokens``, ``queue_seconds`` (None where the engine doesn't tell) and ``prompt_logprobs`` come with the request's
    first. ``error`` ends the choice; with ``param`` it is the request's fault, else the engine's. Choices of a beam search come whole,
    each with its ``beam_score``; the first progress then is one without tokens, when the search has begun.
    """

    request_id: str
    index: int
    token_ids: list[int]
    logprobs: list[Logprobs] = []
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    cached_tokens: int = 0
    queue_seconds: float | None = 0.0
    prompt_logprobs: list[Logprobs] = []
    error: str | None = None
    param: str | None = None
    logits_hashes: bytes = b""
    beam_score: BeamScore | None = None


class Embedded(msgspec.Struct, frozen=True, array_like=True, tag="embedded"):
    """The vectors of a request's inputs, in their order (float32, little-endian), or what it failed with, as in Progress."""

    request_id: str
    vectors: tuple[bytes, ...]
    error: str | None = None
    param: str | None = None


class Stats(msgspec.Struct, frozen=True, array_like=True):
    """The engine's state after a step; counters run from its start."""

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    work: EngineWork | None = None


class Outputs(msgspec.Struct, frozen=True, array_like=True, tag="outputs"):
    """Everything that a step brought and the state after it; or an empty sign of life, from within a step without any ``stats``."""

    items: list[Progress]
    stats: Stats | None


ToEngine = Submit | Embed | Abort | Sleep | Wake
FromEngine = Loading | Ready | Failed | Outputs | Embedded | Asleep

encode = msgspec.msgpack.Encoder().encode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode


def frame(message: ToEngine | FromEngine) -> bytes:
    """A message as it goes over the socket."""
    return pack_frame(encode(message))
