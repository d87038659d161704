"""POST /v1/chat/completions: the request as it comes over the wire, and the engine-neutral one made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pennyweight.server.config import LimitSettings
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import ChatPrompt, Constraint, Message, Request, Tool

from .constraints import output_constraint
from .fields import GenerationFields
from .messages import NamedToolChoice, WireMessage, WireTool, to_messages, to_tools
from .sampling import check_at_most, check_length, sampling_params


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
    chat: ChatRequest, capabilities: Capabilities, limits: LimitSettings, *, request_id: str, arrival: float
) -> Request:
    """The engine-neutral request. Raises InvalidRequest or UnsupportedParameter under the parameter's name."""
    max_tokens = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    if chat.max_tokens == 0:
        raise InvalidRequest("Invalid value for 'max_tokens': at least 1 token is needed.", param="max_tokens")
    if chat.max_tokens is not None and chat.max_completion_tokens not in (None, chat.max_tokens):
        raise InvalidRequest("'max_tokens' and 'max_completion_tokens' contradict each other.", param="max_tokens")
    if chat.stream and chat.prompt_logprobs is not None:
        raise UnsupportedParameter("'prompt_logprobs' is not available in a stream.", param="prompt_logprobs")
    tools = offered_tools(chat, limits)
    return Request(
        id=request_id,
        model=chat.model,
        prompt=to_prompt(chat, capabilities, limits, tools),
        sampling=sampling_params(
            chat,
            limits,
            max_tokens=max_tokens,
            logprobs=_logprobs(chat, limits),
            prompt_logprobs=chat.prompt_logprobs,
            constraint=_constraint(chat, tools, limits),
        ),
        priority=chat.priority or 0,
        arrival=arrival,
    )


def to_prompt(
    chat: ChatRequest, capabilities: Capabilities, limits: LimitSettings, tools: tuple[Tool, ...]
) -> ChatPrompt:
    """The conversation, with what the chat template is told beside it."""
    return chat_prompt(
        to_messages(chat.messages, limits),
        capabilities,
        tools=tools,
        add_generation_prompt=chat.add_generation_prompt,
        continue_final_message=chat.continue_final_message,
        template_kwargs=chat.chat_template_kwargs,
    )


def chat_prompt(
    messages: tuple[Message, ...],
    capabilities: Capabilities,
    *,
    tools: tuple[Tool, ...],
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
    if continued and messages[-1].role != "assistant":
        raise InvalidRequest(
            "'continue_final_message' needs the last message to be the assistant's.", param="continue_final_message"
        )
    for name in template_kwargs or ():
        if name not in capabilities.template_kwargs:
            known = ", ".join(sorted(capabilities.template_kwargs)) or "none"
            raise InvalidRequest(
                f"Invalid 'chat_template_kwargs': this model's chat template reads {known}.",
                param="chat_template_kwargs",
            )
    return ChatPrompt(
        messages=messages,
        tools=tools,
        add_generation_prompt=generation,
        continue_final_message=continued,
        template_kwargs=dict(template_kwargs or {}),
    )


def offered_tools(chat: ChatRequest, limits: LimitSettings) -> tuple[Tool, ...]:
    """The tools that the model is told of: none when it must not call any."""
    tools = to_tools(chat.tools or (), limits)
    choice = chat.tool_choice
    if not tools and (choice == "required" or isinstance(choice, NamedToolChoice)):
        raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    if isinstance(choice, NamedToolChoice) and choice.function.name not in {tool.name for tool in tools}:
        raise InvalidRequest(
            "Invalid 'tool_choice': there is no tool of that name in 'tools'.", param="tool_choice.function.name"
        )
    return () if choice == "none" else tools


def _logprobs(chat: ChatRequest, limits: LimitSettings) -> int | None:
    if chat.top_logprobs is not None:
        check_at_most(chat.top_logprobs, limits.max_top_logprobs, "top_logprobs")
        if not chat.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return (chat.top_logprobs or 0) if chat.logprobs else None


def _constraint(chat: ChatRequest, tools: tuple[Tool, ...], limits: LimitSettings) -> Constraint | None:
    return output_constraint(chat, limits)
