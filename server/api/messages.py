"""Chat messages and tools as they come over the wire, and their engine-neutral form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import InvalidRequest, MissingParameter, UnsupportedParameter
from pennyweight.server.types import Message, Tool, ToolCall

from .bounds import check_length

FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_.-]{1,64}(?!\\n)$")]


class ContentPart(msgspec.Struct, kw_only=True, frozen=True):
    """One part of a message's content. Only text can be read here; other types are refused by name."""

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(msgspec.Struct, kw_only=True, frozen=True):
    """The function of a call, its arguments as JSON text."""

    name: str
    arguments: str


class WireToolCall(msgspec.Struct, kw_only=True, frozen=True):
    """A call that the assistant made in an earlier turn."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class WireMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class FunctionDefinition(msgspec.Struct, kw_only=True, frozen=True):
    """A function offered to the model."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class WireTool(msgspec.Struct, kw_only=True, frozen=True):
    """A tool offered to the model; only functions are known."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(msgspec.Struct, kw_only=True, frozen=True):
    """The name of a function."""

    name: str


class NamedToolChoice(msgspec.Struct, kw_only=True, frozen=True):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


def to_messages(wire: Sequence[WireMessage], limits: LimitSettings) -> tuple[Message, ...]:
    """Engine-neutral messages. Raises InvalidRequest or UnsupportedParameter with the path of what is wrong."""
    if not wire:
        raise InvalidRequest("Invalid 'messages': at least one message is needed.", param="messages")
    check_length(wire, limits.max_messages, "messages")
    return tuple(_to_message(message, f"messages[{index}]") for index, message in enumerate(wire))


def _to_message(wire: WireMessage, path: str) -> Message:
    content = wire.content
    if isinstance(content, list):
        content = _join_parts(content, f"{path}.content")
    if content is None and wire.role == "assistant" and wire.refusal:
        content = wire.refusal
    if content is None and not (wire.role == "assistant" and wire.tool_calls):
        raise MissingParameter(f"Missing required parameter: '{path}.content'.", param=f"{path}.content")
    if wire.role == "tool" and wire.tool_call_id is None:
        raise MissingParameter(f"Missing required parameter: '{path}.tool_call_id'.", param=f"{path}.tool_call_id")
    if wire.tool_calls and wire.role != "assistant":
        raise InvalidRequest(
            f"Invalid '{path}.tool_calls': only the assistant calls tools.", param=f"{path}.tool_calls"
        )
    return Message(
        role=wire.role,
        content=content,
        name=wire.name,
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in wire.tool_calls or ()
        ),
        tool_call_id=wire.tool_call_id,
    )


def _join_parts(parts: list[ContentPart], path: str) -> str:
    texts: list[str] = []
    for index, part in enumerate(parts):
        place = f"{path}[{index}]"
        if part.type not in ("text", "refusal"):
            kind = part.type[:40]
            raise UnsupportedParameter(
                f"Unsupported content part '{place}' of type {kind!r}: this model reads text only.", param=place
            )
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise MissingParameter(f"Missing required parameter: '{place}.{part.type}'.", param=f"{place}.{part.type}")
        texts.append(text)
    return "\n".join(texts)


def to_tools(wire: Sequence[WireTool], limits: LimitSettings) -> tuple[Tool, ...]:
    """Engine-neutral tools. Raises InvalidRequest when they are too many, too large, or share a name."""
    check_length(wire, limits.max_tools, "tools")
    names: set[str] = set()
    tools: list[Tool] = []
    for index, tool in enumerate(wire):
        function = tool.function
        if function.name in names:
            path = f"tools[{index}].function.name"
            raise InvalidRequest(f"Invalid '{path}': another tool has the name {function.name!r}.", param=path)
        names.add(function.name)
        parameters = function.parameters or {}
        size = len(msgspec.json.encode(parameters))
        if size > limits.max_schema_bytes:
            path = f"tools[{index}].function.parameters"
            raise InvalidRequest(
                f"Invalid '{path}': {size} bytes are above the maximum of {limits.max_schema_bytes}.", param=path
            )
        tools.append(
            Tool(
                name=function.name,
                description=function.description,
                parameters=parameters,
                strict=bool(function.strict),
            )
        )
    return tuple(tools)
