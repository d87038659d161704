"""The one protocol that everything which answers requests implements: engines, and engines around engines."""

from __future__ import annotations

import enum
import functools
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import msgspec

from pennyweight.server.types import Determinism, Embeddings, EmbedRequest, Event, Prompt, Request

from .features import GENERATION_FEATURES, Feature
from .manifest import Manifest

# The ``tool_format`` of engines whose deltas carry the tool calls, already told from the text.
UPSTREAM_CALLS = "upstream"
# What tells a server how many seconds an answer may take: read by ours, and passed on to upstreams, of which some are ours.
TIMEOUT_HEADER = "x-pennyweight-timeout"


class HealthState(enum.StrEnum):
    """Where an engine is in its life. Only READY takes requests; one that is UNLOADED or SLEEPING is loaded or woken when one
    comes, if it can be."""

    UNLOADED = "unloaded"
    SLEEPING = "sleeping"
    LOADING = "loading"
    READY = "ready"
    STALLED = "stalled"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """An engine's state and, in a sentence, why."""

    state: HealthState
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine's model can do. Known once the engine is ready.

    ``tool_format`` names how the model writes tool calls (hermes, llama3, mistral), or is UPSTREAM_CALLS;
    ``template_kwargs`` are the names that its chat template reads; ``has_chat_template`` is false for base models.
    ``created`` is the weights' time in Unix seconds. ``max_model_len``, ``vocab_size`` and ``template_kwargs`` are None
    where only an upstream knows them. What a request uses that is not among ``features``, ``generate`` refuses with
    UnsupportedParameter. ``embedding_sizes`` are the lengths that embeddings may have, the largest of them uncut; empty
    where that isn't known. ``is_repeatable`` is false where the same request may be answered otherwise under the same fingerprint,
    whatever it fixes: no answer is then to be kept and given again.

    ``determinism`` is the strongest mode that a request may ask for, ``variance`` why there is none stronger; ``adapter_variance``, where
    there is any, why answers with an adapter are SEEDED at most. ``default_determinism`` is for requests that ask for none.
    ``manifest`` is what ``fingerprint`` stands for, None where that is not known.
    """

    model: str
    engine: str
    fingerprint: str
    max_model_len: int | None
    vocab_size: int | None
    tool_format: str
    has_chat_template: bool = True
    template_kwargs: frozenset[str] | None = frozenset()
    created: int = 0
    features: frozenset[Feature] = GENERATION_FEATURES
    embedding_sizes: frozenset[int] = frozenset()
    is_repeatable: bool = True
    determinism: Determinism = Determinism.OFF
    variance: str = "nothing is known of how it computes"
    adapter_variance: str = ""
    default_determinism: Determinism = Determinism.OFF
    manifest: Manifest | None = None

    @property
    def takes_seed(self) -> bool:
        """Whether a request may say what its choices are drawn by."""
        return Feature.SEED in self.features

    details: dict[str, str] = field(default_factory=dict)


class EngineWork(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What an engine has computed since its start, by its own counts; how they are made is the engine's to document.

    ``flops`` leave out what was computed a second time, as MFU does (PaLM, arXiv:2204.02311, appendix B); bytes are all that
    moved. Seconds are those of its one worker: in steps for prompts, for output tokens, to recompute what a preempted sequence
    had lost (a step with several of these is divided by their FLOPs), and without any step. Tokens are those computed in these
    phases. Steps are counted by what they held: only output tokens, prompts beside them, or anything else (prefill).
    """

    flops: float = 0.0
    read_bytes: float = 0.0
    write_bytes: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    recompute_seconds: float = 0.0
    idle_seconds: float = 0.0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    recomputed_tokens: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    mixed_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What an engine is doing now, and counters since its start (they may fall back to 0 when it restarts).

    ``kv_cache_usage`` is a share from 0 to 1; prefix cache queries and hits are counted in tokens; ``restarts`` is how
    often the engine was started again. ``retries`` are the attempts at an upstream that failed and were made again,
    ``retry_seconds`` what those took with the waits after them. ``work`` is None where the engine can't tell.
    """

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    preemptions: int = 0
    restarts: int = 0
    retries: int = 0
    retry_seconds: float = 0.0
    work: EngineWork | None = None


class Engine(Protocol):
    """Turns one request into a stream of events. All methods are safe to call concurrently from one event loop."""

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        """Yield ``Started``, then deltas, then ``Finished``.

        Closing the generator cancels the work and frees what it held. Raises PennyweightError; before ``Started`` when
        the request is refused, later when the engine fails under it.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The inputs' vectors; cancelling drops the work.

        Raises InvalidRequest under ``model`` when the model makes no embeddings, and PennyweightError for whatever else.
        """
        ...

    def capabilities(self) -> Capabilities:
        """What the model can do. Raises ModelLoading before the engine was ready for the first time."""
        ...

    async def tokenize(self, prompt: Prompt) -> list[int]:
        """The token ids that ``generate`` would start from."""
        ...

    async def detokenize(self, token_ids: list[int]) -> str:
        """The text of token ids, special tokens included. Raises InvalidRequest for ids outside the vocabulary."""
        ...

    def health(self) -> Health:
        """The engine's state now; never blocks."""
        ...

    def stats(self) -> EngineStats:
        """What the engine is doing now, as last heard of; never blocks."""
        ...

    async def aclose(self) -> None:
        """End the engine and free what it holds; requests under way end with ShuttingDown."""
        ...


@runtime_checkable
class Manageable(Engine, Protocol):
    """An engine whose model can be loaded and dropped while the server runs, which costs seconds and frees memory.

    Between the two it may sleep: at level 1 its weights are kept in the host's memory and nothing else, at level 2 they are
    dropped as well and only the process is kept (vLLM's levels).
    """

    async def load(self) -> None:
        """Return when it takes requests, also from sleep. Raises ModelError; it may be tried again."""
        ...

    async def sleep(self, level: int) -> None:
        """Keep what the level says; no request may be under way. Raises ModelError, and the model is then unloaded."""
        ...

    def sleep_levels(self) -> frozenset[int]:
        """Those that this engine has for this model on this device; none before its first load."""
        ...

    async def unload(self) -> None:
        """Free what the model takes; no request may be under way. ``capabilities`` are still known afterwards."""
        ...

    def resident_bytes(self) -> int:
        """Memory that the loaded model takes, measured now."""
        ...

    def expected_bytes(self) -> int:
        """A guess at it before the first load."""
        ...


@runtime_checkable
class AdapterNames(Protocol):
    """Engines by name among which adapters are found as well, by names that iterating does not give: they come and go."""

    def adapter_names(self) -> list[str]:
        """The names of the adapters that there are now."""
        ...

    def base_of(self, name: str) -> str:
        """The model that an adapter's name belongs to, there or not; a model's own name is its own. Raises KeyError."""
        ...


@runtime_checkable
class Leased(Protocol):
    """An engine that stays loaded only while somebody holds it so."""

    def lease(self) -> AbstractAsyncContextManager[None]:
        """Have the model loaded inside the block. Raises PennyweightError, when it can't be or too many wait for it."""
        ...

    def load_seconds(self) -> Mapping[str, tuple[int, float]]:
        """How often the model was loaded and how long that took in all, by kind: ``cold`` into memory that was free,
        ``warm`` from sleep, ``swapped`` where another had to make room first."""
        ...


class Choosing(Engine, Protocol):
    """An engine that chooses a model for each request."""

    def explain(self, request: Request) -> Mapping[str, Any]:
        """What it would choose now and why, as JSON has it. Raises what ``generate`` raises before it has asked a model."""
        ...


@runtime_checkable
class Remote(Protocol):
    """An engine that sends what it is given to another server."""

    @property
    def leaves(self) -> bool:
        """Whether that server is somebody else's, and not one of the operator's own."""
        ...


def data_leaves(engine: Engine) -> bool:
    """Whether what the engine is given goes to somebody else's machines."""
    return _is_remote(type(engine)) and cast("Remote", engine).leaves


@functools.cache
def _is_remote(engine_type: type) -> bool:
    # Asking each engine anew takes as long as reading a request.
    return hasattr(engine_type, "leaves")
