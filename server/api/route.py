"""POST /v1/route/explain: where a conversation would go, and why, without sending it there."""

from __future__ import annotations

from pennyweight.server.errors import InvalidRequest

from .chat_request import ChatRequest, to_request
from .chat_tools import tool_use
from .exchange import Answer, Call, json_answer
from .parameters import REFUSED_IN_CHAT, SILENT_IN_CHAT
from .reading import read
from .routing import routing_of


async def explain_route(call: Call) -> Answer:
    """Explain the route of a chat completion. Raises PennyweightError."""
    chat, headers = read(call, ChatRequest, refused=REFUSED_IN_CHAT, silent=SILENT_IN_CHAT)
    router = call.routes.get(chat.model)
    if router is None:
        names = ", ".join(call.routes) or "none, for no tiers are configured"
        raise InvalidRequest(f"Only names that leave the choice to the router have a route: {names}.", param="model")
    capabilities, limits = router.capabilities(), call.settings.limits
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
        routing=routing_of(call, chat),
    )
    return json_answer(router.explain(request), headers=headers)
