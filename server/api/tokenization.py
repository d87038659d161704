"""POST /tokenize and POST /detokenize, in vLLM's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.server.config import LimitSettings
from pennyweight.server.engines.base import Capabilities, Engine
from pennyweight.server.errors import InvalidRequest, MissingParameter
from pennyweight.server.types import Prompt, TextPrompt

from .chat_request import chat_prompt
from .exchange import Answer, Call, json_answer
from .fields import TokenId
from .messages import WireMessage, WireTool, to_messages, to_tools
from .parameters import SILENT_IN_CHAT, Refusal
from .reading import read

_REFUSED: Mapping[str, Refusal] = {
    "chat_template": Refusal(hint="A template is set when the server is started."),
    "mm_processor_kwargs": Refusal(),
}


class TokenizeRequest(msgspec.Struct, kw_only=True, frozen=True):
    """A text or a conversation to tokenise; exactly one of ``prompt`` and ``messages``."""

    model: str | None = None
    prompt: str | None = None
    messages: list[WireMessage] | None = None
    tools: list[WireTool] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True, frozen=True):
    """Token ids to turn into text."""

    tokens: list[TokenId]
    model: str | None = None


async def tokenize(call: Call) -> Answer:
    """The tokens that a request of this prompt would start from. Raises PennyweightError."""
    wire, headers = read(call, TokenizeRequest, refused=_REFUSED, silent=SILENT_IN_CHAT)
    engine = await _engine(call, wire.model)
    capabilities = engine.capabilities()
    tokens = await engine.tokenize(_prompt(wire, capabilities, call.settings.limits))
    strings = None
    if wire.return_token_strs:
        texts = {token: await engine.detokenize([token]) for token in set(tokens)}
        strings = [texts[token] for token in tokens]
    return json_answer(
        {
            "count": len(tokens),
            "max_model_len": capabilities.max_model_len,
            "tokens": tokens,
            "token_strs": strings,
        },
        headers=headers,
    )


async def detokenize(call: Call) -> Answer:
    """The text of token ids. Raises PennyweightError."""
    wire, headers = read(call, DetokenizeRequest)
    engine = await _engine(call, wire.model)
    return json_answer({"prompt": await engine.detokenize(wire.tokens)}, headers=headers)


async def _engine(call: Call, model: str | None) -> Engine:
    """The model's engine; the only one where none is named."""
    if model is not None:
        return await call.engine(model)
    names = list({id(engine): name for name, engine in call.engines.items()}.values())
    if len(names) != 1:
        raise MissingParameter("Missing required parameter: 'model'.", param="model")
    return await call.engine(names[0])


def _prompt(wire: TokenizeRequest, capabilities: Capabilities, limits: LimitSettings) -> Prompt:
    if wire.messages is None:
        if wire.prompt is None:
            raise MissingParameter("Missing required parameter: 'prompt' or 'messages'.", param="prompt")
        return TextPrompt(text=wire.prompt, add_special_tokens=wire.add_special_tokens is not False)
    if wire.prompt is not None:
        raise InvalidRequest("Give 'prompt' or 'messages', not both.", param="messages")
    if wire.add_special_tokens:
        raise InvalidRequest(
            "'add_special_tokens' can't be true for messages: the chat template writes the special tokens.",
            param="add_special_tokens",
        )
    return chat_prompt(
        to_messages(wire.messages, limits),
        capabilities,
        tools=to_tools(wire.tools or (), limits),
        add_generation_prompt=wire.add_generation_prompt,
        continue_final_message=wire.continue_final_message,
        template_kwargs=wire.chat_template_kwargs,
    )
