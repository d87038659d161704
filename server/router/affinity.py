"""Where a conversation's keys and values are: at the model that answered its last turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from pennyweight.server.types import ChatPrompt, Request

# Conversations that are remembered; the one not heard of the longest is forgotten first.
MAX_CONVERSATIONS = 65536
# How many turns back a conversation is looked for: a client may cut or add some at once.
MAX_TURNS_BACK = 16

_encode = msgspec.json.Encoder().encode


class Affinity:
    """Which model last answered what a conversation begins with. Tenants' conversations are told apart."""

    def __init__(self) -> None:
        self._models: OrderedDict[bytes, str] = OrderedDict()

    def model_of(self, request: Request) -> str | None:
        """The model that answered the longest known beginning of the conversation; None for a new one."""
        for key in reversed(_beginnings(request)):
            model = self._models.get(key)
            if model is not None:
                self._models.move_to_end(key)
                return model
        return None

    def answered(self, request: Request, model: str) -> None:
        """A model has the conversation up to here in its cache now."""
        beginnings = _beginnings(request)
        if not beginnings:
            return
        self._models[beginnings[-1]] = model
        self._models.move_to_end(beginnings[-1])
        if len(self._models) > MAX_CONVERSATIONS:
            self._models.popitem(last=False)


def _beginnings(request: Request) -> list[bytes]:
    """A digest for each of the conversation's beginnings that ends with a user's message, the shortest first.

    Without a user's message there is none: a system prompt alone is no conversation, and would tie all to one model.
    """
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt):
        return []
    digest = hashlib.blake2b(request.tenant.encode(), digest_size=16)
    found = []
    for message in prompt.messages:
        digest.update(_encode(message))
        if message.role == "user":
            found.append(digest.digest())
    return found[-MAX_TURNS_BACK:]
