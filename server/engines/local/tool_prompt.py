"""Tools for a model whose chat template knows none: told in the system message, called and answered in Hermes' format.

The format is that of Hermes 2 Pro (https://github.com/NousResearch/Hermes-Function-Calling), which many small models were
trained on; the parser for it is the one that such a model gets (server/api/tools/hermes.py).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pennyweight.server.types import Message, Tool

_INTRODUCTION = (
    "You can call functions to help with the user's request. These are their signatures, one in each line:\n"
    "<tools>\n{tools}\n</tools>\n"
    "To call a function, answer with its name and its arguments as a JSON object within tags:\n"
    '<tool_call>\n{{"name": <function-name>, "arguments": <arguments-object>}}\n</tool_call>'
)


def tell_of_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The same conversation with its tools, calls and their results written out as text."""
    told = list(_as_texts(messages))
    if not tools:
        return told
    text = _INTRODUCTION.format(tools="\n".join(map(_signature, tools)))
    if told and told[0].role in ("system", "developer"):
        first = told[0]
        return [msgspec.structs.replace(first, content=f"{first.content or ''}\n\n{text}".lstrip()), *told[1:]]
    return [Message(role="system", content=text), *told]


def tool_object(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's shape, which is what templates show the model."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function | {"parameters": dict(tool.parameters)}}


def _signature(tool: Tool) -> str:
    return json.dumps(tool_object(tool), ensure_ascii=False)


def _as_texts(messages: Sequence[Message]) -> Iterator[Message]:
    """Results that follow each other become one turn of the user's: many templates refuse two in a row."""
    for of_tools, group in itertools.groupby(messages, key=lambda message: message.role == "tool"):
        if of_tools:
            yield Message(role="user", content="\n".join(map(_result, group)))
        else:
            yield from map(_as_text, group)


def _result(message: Message) -> str:
    return f"<tool_response>\n{message.content or ''}\n</tool_response>"


def _as_text(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = [
        f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n</tool_call>'
        for call in message.tool_calls
    ]
    return msgspec.structs.replace(message, content="\n".join([message.content or "", *calls]).lstrip(), tool_calls=())
