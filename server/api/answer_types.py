"""The answers' shapes, for the OpenAPI document and for tests that hold the real answers against them.

The answers themselves are written without these, as bytes that are mostly encoded once (see ``chat_answer``).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class _Shape(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A JSON object with these fields and no others; one with a default may be left out."""


class PromptTokensDetails(_Shape):
    """``cached_tokens`` of the prompt came from the prefix cache."""

    cached_tokens: int
    audio_tokens: int


class CompletionTokensDetails(_Shape):
    """Always zeros; OpenAI's clients expect them."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(_Shape):
    """The tokens that a request took; ``estimated`` where an upstream did not count them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    estimated: bool | msgspec.UnsetType = msgspec.UNSET


class Recording(_Shape):
    """Whether the answer's records were written before its end; in the last event of a stream of a recorded call."""

    recorded: bool


class TopLogprob(_Shape):
    """One alternative at a position; -9999.0 stands for a probability of zero."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A chosen token and its alternatives."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Shape):
    """The logprobs of a message's tokens."""

    content: list[TokenLogprob]
    refusal: None


class PromptLogprob(_Shape):
    """A prompt token's logprob; ``rank`` is 1 for the most probable, null where it is not known."""

    logprob: float
    rank: int | None
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]


class CallFunction(_Shape):
    """A called function, its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(_Shape):
    """A tool call."""

    id: str
    type: Literal["function"]
    function: CallFunction


class ChatMessage(_Shape):
    """What the model answered."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    annotations: list[None]
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(_Shape):
    """One answer to a conversation. ``stop_reason`` is the stop string or token id that ended it.

    ``token_ids`` are vLLM's; ``logits_hashes`` has 16 hexadecimal digits for each, see the README.
    Those of a beam search have the sum of their tokens' logprobs, and the score that they are ordered by.
    """

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]
    stop_reason: str | int | msgspec.UnsetType = msgspec.UNSET
    token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    logits_hashes: list[str] | msgspec.UnsetType = msgspec.UNSET
    cumulative_logprob: float | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType = msgspec.UNSET


class ChatCompletion(_Shape):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    service_tier: Literal["default"]
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    prompt_logprobs: PromptLogprobs | msgspec.UnsetType = msgspec.UNSET


class ConsideredModel(_Shape):
    """A model that the router looked at: why it can't be taken, or the numbers that order it, the less the better."""

    tier: str
    model: str
    refusal: str | None
    order: dict[str, float | None]


class RouteEscalation(_Shape):
    """Where the answer is made again when the judges are not sure enough of it."""

    tier: str
    chain: list[str]
    judges: list[str]


class RouteExplanation(_Shape):
    """Where a conversation would go: the tier, which policy chose it and why, and the models to try, the best first."""

    tier: str
    policy: str
    reason: str
    scores: dict[str, float]
    model: str
    chain: list[str]
    fallbacks: list[str]
    escalation: RouteEscalation | None
    considered: list[ConsideredModel]


class CallFunctionDelta(_Shape):
    """More of a call's arguments; its name comes once."""

    arguments: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class CallDelta(_Shape):
    """More of call ``index``; its id and type come once."""

    index: int
    function: CallFunctionDelta
    id: str | msgspec.UnsetType = msgspec.UNSET
    type: Literal["function"] | msgspec.UnsetType = msgspec.UNSET


class ChatDelta(_Shape):
    """More of a message; its role comes once."""

    role: Literal["assistant"] | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    refusal: msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[CallDelta] | msgspec.UnsetType = msgspec.UNSET


class ChatChunkChoice(_Shape):
    """More of one answer; ``finish_reason`` comes once, at its end."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"] | None
    stop_reason: str | int | msgspec.UnsetType = msgspec.UNSET
    token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    logits_hashes: list[str] | msgspec.UnsetType = msgspec.UNSET
    cumulative_logprob: float | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType = msgspec.UNSET


class ChatCompletionChunk(_Shape):
    """One event of a stream. With ``include_usage`` the last has no choices, and its usage is that of the whole."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    service_tier: Literal["default"]
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    prompt_token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    pennyweight: Recording | msgspec.UnsetType = msgspec.UNSET


class LegacyLogprobs(_Shape):
    """The logprobs of a text's tokens, in four lists of one length; ``text_offset`` counts characters."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Shape):
    """One continuation, or in a stream more of it."""

    index: int
    text: str
    logprobs: LegacyLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"] | None
    stop_reason: str | int | msgspec.UnsetType = msgspec.UNSET
    token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    logits_hashes: list[str] | msgspec.UnsetType = msgspec.UNSET
    prompt_token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    cumulative_logprob: float | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType = msgspec.UNSET
    prompt_logprobs: PromptLogprobs | msgspec.UnsetType = msgspec.UNSET


class Completion(_Shape):
    """The answer to a text completion, and each event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    pennyweight: Recording | msgspec.UnsetType = msgspec.UNSET


class Embedding(_Shape):
    """An input's vector: numbers, or base64 of them as little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(_Shape):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(_Shape):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Model(_Shape):
    """A name that a request may give as its model. ``root`` is the model's own name, ``state`` its engine's.

    ``max_model_len`` is null where it isn't known: by an upstream alone, or before a model was loaded for the first time.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int | None
    state: str


class DeterministicModes(_Shape):
    """The strongest mode that a model's engine honours (``mode``), why it has no stronger one (``limit``), and the mode of requests that
    ask for none (``default``)."""

    mode: Literal["off", "seeded", "bitwise"]
    default: Literal["off", "seeded", "bitwise"]
    limit: str | None


class Numerics(_Shape):
    """What a model's answers depend on, by name, and the fingerprint that answers carry for it."""

    fingerprint: str
    model: str
    parts: dict[str, str]


class DescribedModel(Model):
    """A model with what is known of how it computes; of names that leave the choice of the model to the router there is nothing to say."""

    deterministic: DeterministicModes | msgspec.UnsetType = msgspec.UNSET
    numerics: Numerics | msgspec.UnsetType | None = msgspec.UNSET


class ModelList(_Shape):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class Tokens(_Shape):
    """A prompt's token ids, and each one's text where that was asked for."""

    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizedText(_Shape):
    """The text of token ids."""

    prompt: str


class ErrorDetails(_Shape):
    """What went wrong. ``param`` is the path of the parameter that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(_Shape):
    """The answer to whatever fails."""

    error: ErrorDetails


class Liveness(_Shape):
    """The process serves."""

    status: Literal["alive"]


class ModelState(_Shape):
    """Where a model's engine is in its life, and why."""

    state: Literal["loading", "ready", "stalled", "restarting", "draining", "failed"]
    detail: str


class Readiness(_Shape):
    """Whether every model takes requests, and each one's state."""

    status: Literal["ready", "not ready", "draining"]
    models: dict[str, ModelState]


class Version(_Shape):
    """The server's version."""

    version: str


class OpenAPIDocument(msgspec.Struct, kw_only=True):
    """A document of OpenAPI 3.1; the parts that every one has."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
