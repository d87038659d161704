"""What a request may use, by name: an engine declares what it can do, and refuses the rest before it begins."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import ChatPrompt, ConstraintKind, EmbedRequest, Request, TokensPrompt

from .determinism import honoured

if TYPE_CHECKING:
    from .base import Capabilities


class Feature(enum.StrEnum):
    """One thing that an engine can or can't do. The value is the parameter of OpenAI's API, or of vLLM's beside it."""

    N = "n"
    SEED = "seed"
    BEAM_SEARCH = "use_beam_search"
    STOP = "stop"
    LOGPROBS = "logprobs"
    PROMPT_LOGPROBS = "prompt_logprobs"
    LOGIT_BIAS = "logit_bias"
    PENALTIES = "presence_penalty, frequency_penalty"
    TOP_K = "top_k"
    MIN_P = "min_p"
    REPETITION_PENALTY = "repetition_penalty"
    MIN_TOKENS = "min_tokens"
    STOP_TOKEN_IDS = "stop_token_ids"
    INCLUDE_STOP_STR = "include_stop_str_in_output"
    IGNORE_EOS = "ignore_eos"
    SPECIAL_TOKENS = "skip_special_tokens: false"
    JSON_OBJECT = "response_format: json_object"
    JSON_SCHEMA = "response_format: json_schema"
    REGEX = "structured_outputs: regex"
    CHOICE = "structured_outputs: choice"
    GRAMMAR = "structured_outputs: grammar"
    TOOLS = "tools"
    FORCED_TOOLS = "tool_choice: required or a function"
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    NO_GENERATION_PROMPT = "add_generation_prompt: false"
    TEMPLATE_KWARGS = "chat_template_kwargs"
    TEXT_PROMPTS = "prompt: text (/v1/completions)"
    NO_SPECIAL_TOKENS = "add_special_tokens: false"
    TOKEN_PROMPTS = "prompt: token ids"
    ECHO = "echo"
    PRIORITY = "priority"
    TOKENIZE = "/tokenize"
    DETOKENIZE = "/detokenize"
    BOUNDED_NUMBERS = "numbers in JSON that end by themselves"
    ADAPTERS = "model: an adapter's name"
    TOKEN_IDS = "return_token_ids"
    LOGITS_HASHES = "logits_hashes"
    CACHED_TOKENS = "usage.prompt_tokens_details.cached_tokens"
    GENERATION = "/v1/chat/completions, /v1/completions"
    EMBEDDINGS = "/v1/embeddings"


ALL_FEATURES = frozenset(Feature)
# What a model that writes text can have.
GENERATION_FEATURES = ALL_FEATURES - {Feature.EMBEDDINGS}
# What a model that makes vectors of texts has.
ENCODER_FEATURES = frozenset({Feature.EMBEDDINGS, Feature.TOKENIZE, Feature.DETOKENIZE})

_CONSTRAINTS = {
    ConstraintKind.JSON_OBJECT: Feature.JSON_OBJECT,
    ConstraintKind.JSON_SCHEMA: Feature.JSON_SCHEMA,
    ConstraintKind.REGEX: Feature.REGEX,
    ConstraintKind.CHOICE: Feature.CHOICE,
    ConstraintKind.GRAMMAR: Feature.GRAMMAR,
}


def refuse_unsupported(request: Request, capabilities: Capabilities) -> None:
    """Raise UnsupportedParameter for the first thing that the request uses and the engine can't do, its mode of determinism the last.

    Raises InvalidRequest under ``model`` for a model that writes no text at all.
    """
    if Feature.GENERATION not in capabilities.features:
        raise InvalidRequest(f"The model {request.model} writes no text: it is for /v1/embeddings.", param="model")
    for feature, param in used_features(request):
        if feature not in capabilities.features:
            raise UnsupportedParameter(
                f"The engine of {request.model} ({capabilities.engine}) does not support '{feature}'.", param=param
            )
    honoured(request, capabilities)


def refuse_unsupported_embedding(request: EmbedRequest, capabilities: Capabilities) -> None:
    """Raise InvalidRequest for a model that makes no embeddings (under ``model``) or none so long (under ``dimensions``)."""
    if Feature.EMBEDDINGS not in capabilities.features:
        raise InvalidRequest(
            f"The model {request.model} makes no embeddings: it is for /v1/chat/completions and /v1/completions.",
            param="model",
        )
    sizes = capabilities.embedding_sizes
    if request.dimensions is None or not sizes or request.dimensions in sizes:
        return
    full = max(sizes)
    if len(sizes) == 1:
        raise UnsupportedParameter(
            f"The embeddings of {request.model} have {full} dimensions and can't be cut: it is no Matryoshka model.",
            param="dimensions",
        )
    allowed = f"1 to {full}" if len(sizes) == full else ", ".join(map(str, sorted(sizes)))
    raise InvalidRequest(
        f"Invalid value for 'dimensions': {request.model} has {allowed}, not {request.dimensions}.", param="dimensions"
    )


def used_features(request: Request) -> Iterator[tuple[Feature, str]]:
    """Every feature that the request uses, with the parameter that asked for it."""
    sampling, prompt = request.sampling, request.prompt
    flags = {
        Feature.N: sampling.n > 1,
        Feature.SEED: sampling.seed is not None,
        Feature.BEAM_SEARCH: sampling.beam_search is not None,
        Feature.STOP: bool(sampling.stop),
        Feature.LOGPROBS: sampling.logprobs is not None,
        Feature.PROMPT_LOGPROBS: sampling.prompt_logprobs is not None,
        Feature.LOGIT_BIAS: bool(sampling.logit_bias),
        Feature.TOP_K: bool(sampling.top_k),
        Feature.MIN_P: bool(sampling.min_p),
        Feature.REPETITION_PENALTY: sampling.repetition_penalty not in (None, 1.0),
        Feature.MIN_TOKENS: sampling.min_tokens > 0,
        Feature.STOP_TOKEN_IDS: bool(sampling.stop_token_ids),
        Feature.INCLUDE_STOP_STR: sampling.include_stop_str_in_output,
        Feature.IGNORE_EOS: sampling.ignore_eos,
        Feature.PRIORITY: request.priority != 0,
        Feature.TOKEN_IDS: request.wants_token_ids,
        Feature.LOGITS_HASHES: request.hash_logits,
    }
    yield from ((feature, feature.value) for feature, is_used in flags.items() if is_used)
    if sampling.presence_penalty or sampling.frequency_penalty:
        yield Feature.PENALTIES, "presence_penalty" if sampling.presence_penalty else "frequency_penalty"
    if not sampling.skip_special_tokens:
        yield Feature.SPECIAL_TOKENS, "skip_special_tokens"
    if request.adapter is not None:
        yield Feature.ADAPTERS, "model"
    if sampling.constraint is not None:
        yield _CONSTRAINTS[sampling.constraint.kind], sampling.constraint.param
    if isinstance(prompt, ChatPrompt):
        if prompt.tools:
            yield Feature.TOOLS, "tools"
        if prompt.tools and prompt.tool_choice.mode == "required":
            yield Feature.FORCED_TOOLS, "tool_choice"
        if prompt.continue_final_message:
            yield Feature.CONTINUE_FINAL_MESSAGE, "continue_final_message"
        elif not prompt.add_generation_prompt:
            yield Feature.NO_GENERATION_PROMPT, "add_generation_prompt"
        if prompt.template_kwargs:
            yield Feature.TEMPLATE_KWARGS, "chat_template_kwargs"
    elif isinstance(prompt, TokensPrompt):
        yield Feature.TOKEN_PROMPTS, "prompt"
    else:
        yield Feature.TEXT_PROMPTS, "prompt"
        if not prompt.add_special_tokens:
            yield Feature.NO_SPECIAL_TOKENS, "add_special_tokens"
