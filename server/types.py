"""The engine-neutral vocabulary: what is asked of an engine and what comes back.

Nothing here knows JSON, HTTP or any particular engine, and nothing here imports from this project.
All types are frozen: a wrapper that wants a different request makes a new one with ``msgspec.structs.replace``. They are structs
because several are made for each request and one for each token, and a frozen dataclass takes ten times as long to be made.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class FinishReason(enum.StrEnum):
    """Why a choice ended: an end token or stop string, the token limit, or an upstream's filter that cut it off."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


class Determinism(enum.StrEnum):
    """What is promised of an answer's repetition by the same model on the same class of hardware, the weakest first.

    SEEDED: choices are greedy or follow from the logits, the seed and the position alone, whatever else is in the batch; the logits
    themselves may differ in their last bits. BITWISE: those are the same too, to the bit, whatever the batch, the chunks of the
    prefill, the prefix cache, preemption, threads and restarts.
    """

    OFF = "off"
    SEEDED = "seeded"
    BITWISE = "bitwise"

    def covers(self, other: Determinism) -> bool:
        """Whether this promises all that the other does."""
        order = list(Determinism)
        return order.index(self) >= order.index(other)


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool in an assistant's message; ``arguments`` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation; content parts have been joined to one text."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function offered to the model; ``parameters`` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    strict: bool = False


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the tools may be called, must be, or must not; ``name`` is the one that must be, where it is only one.

    Without ``parallel`` there is at most one call.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    name: str | None = None
    parallel: bool = True


FREE_TOOL_CHOICE = ToolChoice()


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="chat"):
    """A conversation, to be rendered with the chat template of the engine's own model.

    ``tool_choice`` is for engines whose capabilities say UPSTREAM_CALLS; for others the API makes a constraint of it.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = FREE_TOOL_CHOICE
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)


class TextPrompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    """A plain text, tokenised with the special tokens that the model's tokenizer adds by itself."""

    text: str
    add_special_tokens: bool = True


class TokensPrompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tokens"):
    """Token ids, taken as they are."""

    token_ids: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokensPrompt


class ConstraintKind(enum.StrEnum):
    """What the text of a constrained answer must match."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    GRAMMAR = "grammar"


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """A structured output: ``value`` is JSON Schema text, a regex, a JSON list of choices, or a Lark grammar.

    ``value`` is empty for JSON_OBJECT. ``param`` is the request's parameter that asked for it, for error messages.
    """

    kind: ConstraintKind
    value: str = ""
    param: str = "response_format"


class BeamSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Look for the most probable whole answers with ``width`` beams, of which the ``SamplingParams.n`` best are given.

    An answer's score is the sum of its tokens' logprobs, divided by their number to the power ``length_penalty``; its end of sequence
    counts among them. Where ``early_stopping`` is true, the search is over with the first ``width`` answers; where it is false, when
    the best beam that goes on would not be among the best ``width`` if it ended as it is; where it is "never", when no length that
    it may still reach would get it there at that sum.
    """

    width: int
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False


class BeamScore(msgspec.Struct, frozen=True, kw_only=True):
    """What beam search has ranked an answer by: the sum of its tokens' logprobs, and that after the length penalty."""

    cumulative_logprob: float
    score: float


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How to choose tokens. ``None`` means: the model's generation_config.json, else the neutral value.

    ``top_k`` 0 means off. ``logprobs`` is the number of alternatives beside the chosen token (0 to 20), None for no
    logprobs; ``prompt_logprobs`` the same for the prompt's tokens. ``n`` choices are numbered 0 to n-1, those of a ``beam_search`` with
    the best first; beside it nothing is set that would change a token's probability.
    """

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = msgspec.field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    constraint: Constraint | None = None
    beam_search: BeamSearch | None = None


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA adapter to answer with: the directory that holds it, in peft's format, and a digest of what it holds."""

    name: str
    path: str
    digest: str


class CacheControl(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the response cache, as RFC 9111 and RFC 5861 call it.

    ``wanted`` says whether an answer may be kept and given again, None where that is left to the cache's rules. With ``no_store`` the
    cache neither looks nor keeps, with ``no_cache`` it keeps alone. ``only_if_cached`` asks for a kept answer or none; one older than
    ``max_age`` seconds is not given. ``stale_if_error`` is for how many seconds beyond its time an answer may be given when no model
    can answer, as far as the client says; ``max_stale`` is the same of whoever asks for that answer, which clients don't.
    """

    wanted: bool | None = None
    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    stale_if_error: int | None = None
    max_stale: float | None = None


NO_CACHE_CONTROL = CacheControl()


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """What a client that leaves the choice of the model to the router asks of it: a tier, and what the answer may cost at most, in US
    dollars. ``headers`` are those of its HTTP request, by lower-case names.
    """

    tier: str | None = None
    max_cost: float | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work for an engine. ``id`` is ours and unique; lower ``priority`` values run first.

    ``adapter`` is None for the model as it is. ``tenant`` is whose the request is, as ``auth`` names them; nothing that is kept of it is
    ever found by another's. ``cache`` is what it asks of the response cache. ``routing`` is for the router, and ends with it. ``determinism`` is asked for
    at least, None where that is left to the server; with ``hash_logits`` the deltas carry hashes of the logits. ``wants_token_ids``
    says that the token ids of prompt and answer are to be told. Of one that ``is_recorded`` it is to be told what its answer follows
    from: see ``Started.seed`` and ``Started.inputs``. ``arrival`` and ``deadline`` are in seconds of ``time.monotonic()`` of the server process.
    """

    id: str
    model: str
    prompt: Prompt
    sampling: SamplingParams
    priority: int = 0
    arrival: float = 0.0
    deadline: float | None = None
    adapter: Adapter | None = None
    tenant: str = ""
    cache: CacheControl = NO_CACHE_CONTROL
    routing: Routing | None = None
    determinism: Determinism | None = None
    hash_logits: bool = False
    wants_token_ids: bool = False
    is_recorded: bool = False


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts or token ids to be turned into one vector each. ``id`` and ``arrival`` are as a Request's.

    ``dimensions`` cuts the vectors, None leaves them as the model makes them. ``is_list`` says whether the inputs were given as
    a list, for error messages.
    """

    id: str
    model: str
    inputs: tuple[TextPrompt | TokensPrompt, ...]
    is_list: bool = True
    dimensions: int | None = None
    arrival: float = 0.0


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One alternative at a position: its token id (None where an upstream keeps it), text, raw bytes and natural-log
    probability.
    """

    token_id: int | None
    token: str
    bytes: builtins.bytes  # as an annotation, bytes would be this field itself to who decodes it
    logprob: float


class TokenLogprob(TopLogprob, frozen=True, kw_only=True):
    """A chosen (or prompt) token with its alternatives, most probable first."""

    top: tuple[TopLogprob, ...] = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a request: ``cached_tokens`` of the prompt came from the prefix cache.

    ``is_estimated`` where an upstream did not count them, and they were guessed from the length of the texts.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    is_estimated: bool = False


class DroppedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer that a model gave and no client was given: one that was judged and not sure enough, or that served to judge another.

    ``cache`` is what the response cache did for it, as ``Started.cache``.
    """

    model: str
    usage: Usage
    cache: str | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which model a router gave a request to, and why: the tier, the policy that chose it, and its reason in a few words.

    ``is_degraded`` says that the model is one of the tier's fallbacks, or that the answer is less than was promised. ``failed`` are those
    that were tried before it, each with the code of its error, ``dropped`` the answers that were made and not given.
    """

    model: str
    tier: str
    policy: str
    reason: str
    is_degraded: bool = False
    failed: tuple[tuple[str, str], ...] = ()
    dropped: tuple[DroppedAnswer, ...] = ()


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The first event of every answer, sent when the engine has taken the request up.

    ``prompt_logprobs`` has one entry for each prompt token (None for the first, which nothing precedes).
    ``queue_seconds`` is how long the request waited for its first step, before the engine and in it, None where that isn't known.
    ``cache`` is what the response cache did (see ``cache.CacheResult``), None where there is none or it took no part; ``cache_key`` is
    what it knows the answer by, and ``cache_age`` how many seconds ago an answer was made that is given again.
    ``route`` is how the router came to this model, None where the client named it. ``determinism`` is the mode that is honoured.
    Of a request that is recorded ``seed`` is the one that was drawn for it, where it had none and its choices follow from one, and
    ``inputs`` are what decisions on its way were made from, as JSON has it, by who made them.
    """

    request_id: str
    model: str
    fingerprint: str
    prompt_token_ids: tuple[int, ...] = ()
    prompt_text: str = ""
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    queue_seconds: float | None = None
    cache: str | None = None
    cache_key: bytes | None = None
    cache_age: float | None = None
    route: Route | None = None
    determinism: Determinism | None = None
    seed: int | None = None
    inputs: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a choice's call ``index``, counted from 0. ``id`` and ``name`` come together, once, with the first of it.

    ``arguments`` is JSON text as the model writes it, to be joined.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """New text of choice ``index``. Exactly one delta of each choice has a ``finish_reason``, its last.

    ``text`` may be empty while bytes of a character or of a possible stop string are held back; ``token_ids`` and
    ``logprobs`` are those that the engine chose since the choice's last delta. ``stop_reason`` is the stop string or
    token id that ended it, None for the model's own end of sequence. ``tool_calls`` come from engines whose capabilities
    say UPSTREAM_CALLS, whose text has no calls in it, and whose deltas have no ``token_ids``. ``logits_hashes`` are 8 bytes for each of
    ``token_ids``, where they were asked for: a hash of the model's logits that the token was chosen from, as they were before penalties and
    masks, and in a chain of all before them (big-endian).
    ``beam_score`` comes with the last delta of a choice that beam search has found.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logits_hashes: bytes = b""
    beam_score: BeamScore | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of every whole answer, after the last delta of every choice.

    ``is_recorded`` says whether a record of the answer has been written, None where none was to be.
    """

    usage: Usage
    is_recorded: bool | None = None


Event = Started | Delta | Finished


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each input, in the order of the request; each is the bytes of little-endian float32 numbers."""

    vectors: tuple[bytes, ...]
    usage: Usage
