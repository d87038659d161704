"""POST /v1/chat/completions: the request as it comes over the wire, and the engine-neutral one made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from pennyweight.server.config import LimitSettings
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import (
    FREE_TOOL_CHOICE,
    NO_CACHE_CONTROL,
    CacheControl,
    ChatPrompt,
    Determinism,
    Message,
    Request,
    Routing,
    Tool,
    ToolChoice,
)

from .bounds import check_at_most
from .cache_control import with_body
from .chat_tools import ToolUse
from .constraints import output_constraint
from .fields import GenerationFields
from .messages import NamedToolChoice, WireMessage, WireTool, to_messages
from .sampling import check_common, sampling_params

# What a chat template reads that has a place of its own in a request, or that only the model sets.
_NOT_TEMPLATE_KWARGS = frozenset(
    {"messages", "tools", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token", "unk_token"}
    | {"pad_token", "sep_token", "cls_token", "mask_token", "additional_special_tokens"}
)


class ChatRequest(GenerationFields, kw_only=True, frozen=True):
    """A chat completion to make."""

    messages: list[WireMessage]
    max_completion_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0)] | None = None
    tools: list[WireTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def to_request(
    chat: ChatRequest,
    capabilities: Capabilities,
    limits: LimitSettings,
    tools: ToolUse,
    *,
    request_id: str,
    arrival: float,
    deadline: float | None = None,
    tenant: str = "",
    cache: CacheControl = NO_CACHE_CONTROL,
    routing: Routing | None = None,
    determinism: Determinism | None = None,
) -> Request:
    """The engine-neutral request. Raises InvalidRequest or UnsupportedParameter under the parameter's name."""
    check_common(chat, limits)
    if chat.max_tokens == 0:
        raise InvalidRequest("Invalid value for 'max_tokens': at least 1 token is needed.", param="max_tokens")
    if None not in (chat.max_tokens, chat.max_completion_tokens) and chat.max_tokens != chat.max_completion_tokens:
        raise InvalidRequest("'max_tokens' and 'max_completion_tokens' contradict each other.", param="max_tokens")
    constraint = output_constraint(chat, limits)
    if constraint is not None and tools.new_parser is not None:
        raise UnsupportedParameter(
            f"'{constraint.param}' can't be combined with 'tools' that may be called: set 'tool_choice' to 'none'.",
            param=constraint.param,
        )
    return Request(
        id=request_id,
        model=chat.model,
        prompt=chat_prompt(
            to_messages(chat.messages, limits),
            capabilities,
            tools=tools.tools,
            tool_choice=tools.choice,
            add_generation_prompt=chat.add_generation_prompt,
            continue_final_message=chat.continue_final_message,
            template_kwargs=chat.chat_template_kwargs,
        ),
        sampling=sampling_params(
            chat,
            limits,
            max_tokens=chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens,
            logprobs=_logprobs(chat, limits),
            prompt_logprobs=chat.prompt_logprobs,
            constraint=constraint or tools.constraint,
            keeps_special_tokens=tools.keeps_special_tokens,
        ),
        priority=chat.priority or 0,
        arrival=arrival,
        deadline=deadline,
        tenant=tenant,
        cache=with_body(cache, chat.cache),
        determinism=determinism,
        hash_logits=bool(chat.logits_hashes),
        wants_token_ids=bool(chat.return_token_ids),
        routing=routing,
    )


def chat_prompt(
    messages: tuple[Message, ...],
    capabilities: Capabilities,
    *,
    tools: tuple[Tool, ...],
    tool_choice: ToolChoice = FREE_TOOL_CHOICE,
    add_generation_prompt: bool | None,
    continue_final_message: bool | None,
    template_kwargs: Mapping[str, Any] | None,
) -> ChatPrompt:
    """The prompt of a conversation. Raises InvalidRequest when its options contradict each other or the template.

    Whoever has the last message continued and says nothing of a generation prompt wants none.
    """
    continued = bool(continue_final_message)
    generation = add_generation_prompt if add_generation_prompt is not None else not continued
    if continued and generation:
        raise InvalidRequest(
            "'continue_final_message' needs 'add_generation_prompt' to be false.", param="continue_final_message"
        )
    last = messages[-1]
    if continued and (last.role != "assistant" or not last.content or last.tool_calls):
        raise InvalidRequest(
            "'continue_final_message' needs the last message to be the assistant's, with content and no tool calls.",
            param="continue_final_message",
        )
    _check_template_kwargs(template_kwargs or {}, capabilities.template_kwargs)
    return ChatPrompt(
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        add_generation_prompt=generation,
        continue_final_message=continued,
        template_kwargs=dict(template_kwargs or {}),
    )


def _check_template_kwargs(given: Mapping[str, Any], read: frozenset[str] | None) -> None:
    """``read`` are the names that the template reads, None where only an upstream knows them."""
    allowed = (frozenset(given) if read is None else read) - _NOT_TEMPLATE_KWARGS
    if not allowed.issuperset(given):
        raise InvalidRequest(
            f"Invalid 'chat_template_kwargs': this model's chat template takes {', '.join(sorted(allowed)) or 'none'}.",
            param="chat_template_kwargs",
        )


def _logprobs(chat: ChatRequest, limits: LimitSettings) -> int | None:
    if chat.top_logprobs is not None:
        check_at_most(chat.top_logprobs, limits.max_top_logprobs, "top_logprobs")
        if not chat.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return (chat.top_logprobs or 0) if chat.logprobs else None
