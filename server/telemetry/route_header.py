"""A route as the answer's header and the log tell it."""

from __future__ import annotations

from pennyweight.server.types import Route


def route_header(route: Route) -> str:
    """The model, with the tier, the policy and its reason as parameters: a structured field's item (RFC 9651), in ASCII.

    Models that failed are told with the code of their error, answers that were dropped with their model and its tokens.
    """
    parameters = {"tier": route.tier, "policy": route.policy, "reason": route.reason}
    if route.failed:
        parameters["failed"] = " ".join(f"{model}={code}" for model, code in route.failed)
    if route.dropped:
        parameters["dropped"] = " ".join(f"{one.model}={one.usage.completion_tokens}" for one in route.dropped)
    told = "".join(f";{name}={_string(text)}" for name, text in parameters.items())
    return _string(route.model) + told + (";degraded" if route.is_degraded else "")


def _string(text: str) -> str:
    # What a string can't hold there: all but printable ASCII.
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
