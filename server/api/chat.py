"""POST /v1/chat/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import EngineFailed
from pennyweight.server.types import Delta, Finished, Request, Started

from .chat_answer import ChatCollector, ChatShape, ChatStream
from .chat_request import ChatRequest, to_request
from .chat_tools import ToolUse, tool_use
from .determinism import determinism_of
from .exchange import Answer, Call, Observer, StreamAnswer, json_answer
from .generation import observed, stream_answer
from .parameters import REFUSED_IN_CHAT, SILENT_IN_CHAT
from .reading import read
from .routing import routing_of
from .token_fields import TokenFields


async def create_chat_completion(call: Call) -> Answer | StreamAnswer:
    """Answer a conversation. Raises PennyweightError."""
    chat, headers = read(call, ChatRequest, refused=REFUSED_IN_CHAT, silent=SILENT_IN_CHAT)
    deadline = call.deadline_within(chat.timeout)
    engine = await call.engine(chat.model, deadline)
    request, tools = request_of(call, chat, engine, deadline)
    shape = ChatShape(
        id=f"chatcmpl-{call.request_id}",
        created=int(time.time()),
        n=request.sampling.n,
        has_logprobs=bool(chat.logprobs),
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        is_recorded=call.recording is not None,
        may_call=tools.may_call,
        tokens=TokenFields(request.wants_token_ids, request.hash_logits),
        new_parser=tools.new_parser,
    )
    if chat.stream:
        return await stream_answer(_stream(engine, request, call.observer, shape), headers)
    return json_answer(await _collect(engine, request, call.observer, shape), headers=headers)


def request_of(call: Call, chat: ChatRequest, engine: Engine, deadline: float | None) -> tuple[Request, ToolUse]:
    """The request for an engine, and how its answer's tool calls are read. Raises InvalidRequest or UnsupportedParameter."""
    capabilities, limits = engine.capabilities(), call.settings.limits
    tools = tool_use(
        chat.tools,
        chat.tool_choice,
        parallel=chat.parallel_tool_calls is not False,
        tool_format=capabilities.tool_format,
        limits=limits,
    )
    request = to_request(
        chat,
        capabilities,
        limits,
        tools,
        request_id=call.request_id,
        arrival=call.arrival,
        tenant=call.tenant,
        cache=call.cache,
        routing=routing_of(call, chat),
        determinism=determinism_of(call, chat),
        deadline=deadline,
    )
    return request, tools


async def _collect(engine: Engine, request: Request, observer: Observer, shape: ChatShape) -> dict[str, object]:
    collector: ChatCollector | None = None
    async with aclosing(observed(engine, request, observer)) as events:
        async for event in events:
            match event:
                case Delta() if collector:
                    collector.add(event)
                case Started():
                    collector = ChatCollector(shape, event)
                case Finished() if collector:
                    return collector.body(event.usage)
    raise EngineFailed("The engine's answer ended before it was whole.")


async def _stream(engine: Engine, request: Request, observer: Observer, shape: ChatShape) -> AsyncGenerator[bytes]:
    stream: ChatStream | None = None
    opening = b""
    async with aclosing(observed(engine, request, observer)) as events:
        async for event in events:
            match event:
                case Delta() if stream:
                    if chunk := stream.chunk(event):
                        yield opening + chunk
                        opening = b""
                case Started():
                    stream = ChatStream(shape, event)
                    opening = stream.opening()
                case Finished() if stream:
                    yield opening + stream.closing(event.usage, event.is_recorded)
                    return
    raise EngineFailed("The engine's answer ended before it was whole.")
