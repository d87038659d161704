"""What a request may use, by name: an engine declares what it can do, and refuses the rest before it begins."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pennyweight.server.errors import UnsupportedParameter
from pennyweight.server.types import ChatPrompt, ConstraintKind, Request, TokensPrompt

if TYPE_CHECKING:
    from .base import Capabilities


class Feature(enum.StrEnum):
    """One thing that an engine can or can't do. The value is the parameter of OpenAI's API, or of vLLM's beside it."""

    N = "n"
    SEED = "seed"
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
    TEMPLATE_KWARGS = "chat_template_kwargs"
    TEXT_PROMPTS = "prompt: text (/v1/completions)"
    TOKEN_PROMPTS = "prompt: token ids"
    ECHO = "echo"
    PRIORITY = "priority"
    TOKENIZE = "/tokenize"
    DETOKENIZE = "/detokenize"
    ADAPTERS = "model: an adapter's name"
    CACHED_TOKENS = "usage.prompt_tokens_details.cached_tokens"


ALL_FEATURES = frozenset(Feature)

_CONSTRAINTS = {
    ConstraintKind.JSON_OBJECT: Feature.JSON_OBJECT,
    ConstraintKind.JSON_SCHEMA: Feature.JSON_SCHEMA,
    ConstraintKind.REGEX: Feature.REGEX,
    ConstraintKind.CHOICE: Feature.CHOICE,
    ConstraintKind.GRAMMAR: Feature.GRAMMAR,
}


def refuse_unsupported(request: Request, capabilities: Capabilities) -> None:
    """Raise UnsupportedParameter for the first thing that the request uses and the engine can't do."""
    for feature, param in used_features(request):
        if feature not in capabilities.features:
            raise UnsupportedParameter(
                f"The engine of {request.model} ({capabilities.engine}) does not support '{feature}'.", param=param
            )


def used_features(request: Request) -> Iterator[tuple[Feature, str]]:
    """Every feature that the request uses, with the parameter that asked for it."""
    sampling, prompt = request.sampling, request.prompt
    flags = {
        Feature.N: sampling.n > 1,
        Feature.SEED: sampling.seed is not None,
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
        if prompt.continue_final_message:
            yield Feature.CONTINUE_FINAL_MESSAGE, "continue_final_message"
        if prompt.template_kwargs:
            yield Feature.TEMPLATE_KWARGS, "chat_template_kwargs"
    else:
        yield (Feature.TOKEN_PROMPTS if isinstance(prompt, TokensPrompt) else Feature.TEXT_PROMPTS), "prompt"
