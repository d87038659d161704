"""POST /v1/route/explain: where a conversation would go, and why, without sending it there."""

from __future__ import annotations

from pennyweight.server.errors import InvalidRequest

from .chat import request_of
from .chat_request import ChatRequest
from .exchange import Answer, Call, json_answer
from .parameters import REFUSED_IN_CHAT, SILENT_IN_CHAT
from .reading import read


async def explain_route(call: Call) -> Answer:
    """Explain the route of a chat completion. Raises PennyweightError."""
    chat, headers = read(call, ChatRequest, refused=REFUSED_IN_CHAT, silent=SILENT_IN_CHAT)
    router = call.routes.get(chat.model)
    if router is None:
        names = ", ".join(call.routes) or "none, for no tiers are configured"
        raise InvalidRequest(f"Only names that leave the choice to the router have a route: {names}.", param="model")
    request, _ = request_of(call, chat, router, call.deadline_within(chat.timeout))
    return json_answer(router.explain(request), headers=headers)
