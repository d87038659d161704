"""Which requests may be answered by what was asked in other words, and what must be equal before wordings are compared at all."""

from __future__ import annotations

import msgspec

from pennyweight.server.cache.key import request_key, takes_part
from pennyweight.server.cache.store import StoredAnswer
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.types import ChatPrompt, Determinism, FinishReason, Request


class Question(msgspec.Struct, frozen=True):
    """A request that takes part: the ``text`` of its last turn, the ``partition`` of requests that differ in nothing else, and the
    ``key`` of all of it."""

    text: str
    partition: bytes
    key: bytes


def question_of(request: Request, capabilities: Capabilities) -> Question | None:
    """What is compared of a request; None for one that takes no part.

    Only the wording of the last turn of a conversation may differ, a user's. Everything else is equal as the exact cache has it: the earlier
    turns, whose differences an embedding of the whole would drown, the parameters, the format, the model's fingerprint, the tenant.
    A request for more than one text, for probabilities or with tools takes no part: an answer may call a tool with what the other
    wording said. Neither does one whose answer isn't fixed and that doesn't ask for the cache, nor one that is to be answered the same way
    each time: another's answer is not its own.
    """
    sampling = request.sampling
    # How old a kept answer is, is not asked here: who wants a new one, or one of some age, gets no other's.
    wanted = takes_part(request) and not request.cache.no_cache and request.cache.max_age is None
    if not wanted or sampling.n != 1 or sampling.logprobs is not None or sampling.prompt_logprobs is not None:
        return None
    if request.determinism not in (None, Determinism.OFF) or request.hash_logits or request.wants_token_ids:
        return None
    match request.prompt:
        case ChatPrompt(tools=(), messages=(*earlier, last)) if (
            last.role == "user" and last.content and last.content.strip()
        ):
            blank = msgspec.structs.replace(last, content="")
            prompt = msgspec.structs.replace(request.prompt, messages=(*earlier, blank))
            partition = request_key(msgspec.structs.replace(request, prompt=prompt), capabilities)
            return Question(last.content, partition, request_key(request, capabilities))
    return None


def may_be_kept(answer: StoredAnswer) -> bool:
    """Whether an answer may be given again: whole, of text alone, and ended by the model itself."""
    if any(delta.tool_calls for delta in answer.deltas):
        return False
    reasons = [delta.finish_reason for delta in answer.deltas if delta.finish_reason is not None]
    return reasons == [FinishReason.STOP] and bool(text_of(answer).strip())


def text_of(answer: StoredAnswer) -> str:
    """The whole text of an answer."""
    return "".join(delta.text for delta in answer.deltas)
