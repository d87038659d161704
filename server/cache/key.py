"""What two requests must have in common to be given one answer, as a hash, and which requests may be."""

from __future__ import annotations

import hashlib
import unicodedata

import msgspec

from pennyweight.server.engines.base import Capabilities
from pennyweight.server.types import NO_CACHE_CONTROL, ChatPrompt, Message, Prompt, Request, TextPrompt

# Goes into every key: a change of what the hash is taken of must not find answers of before.
VERSION = 1

# JSON and not MessagePack, which has no integers of more than 64 bits; a tool's schema may.
_encode = msgspec.json.Encoder().encode


def is_deterministic(request: Request) -> bool:
    """Whether the request fixes its answer: the most probable tokens, or a seed. What the model's own settings say is not known here."""
    sampling = request.sampling
    is_greedy = sampling.temperature == 0 or sampling.top_k == 1
    return is_greedy or sampling.seed is not None or sampling.beam_search is not None


def takes_part(request: Request) -> bool:
    """Whether an answer may be kept and given again: as the request asks, and without a word where it fixes its answer."""
    asked = request.cache
    if asked.no_store:
        return False
    # Who wants a kept answer or none has asked for it.
    return asked.only_if_cached or (is_deterministic(request) if asked.wanted is None else asked.wanted)


def request_key(request: Request, capabilities: Capabilities) -> bytes:
    """32 bytes (SHA-256) of all that can change the answer, and whose it is.

    That is the whole request but for its id, times, priority, whether its tokens are told, whether it is recorded and what it asks of the cache, and the model's version and numerics (its fingerprint). Texts count in
    Unicode's normal form C and otherwise as they are: no space, case or order is evened out.
    """
    asked = msgspec.structs.replace(
        request,
        id="",
        priority=0,
        arrival=0.0,
        deadline=None,
        cache=NO_CACHE_CONTROL,
        routing=None,
        wants_token_ids=False,
        is_recorded=False,
        prompt=_normalised(request.prompt),
    )
    version = (VERSION, capabilities.engine, capabilities.model, capabilities.fingerprint)
    return hashlib.sha256(_encode((version, type(request.prompt).__name__, asked))).digest()


def _normalised(prompt: Prompt) -> Prompt:
    match prompt:
        case ChatPrompt():
            return msgspec.structs.replace(prompt, messages=tuple(map(_normalised_message, prompt.messages)))
        case TextPrompt():
            return msgspec.structs.replace(prompt, text=unicodedata.normalize("NFC", prompt.text))
        case _:
            return prompt


def _normalised_message(message: Message) -> Message:
    # Few texts are not in this form already, and asking is quicker than making one.
    if message.content is None or unicodedata.is_normalized("NFC", message.content):
        return message
    return msgspec.structs.replace(message, content=unicodedata.normalize("NFC", message.content))
