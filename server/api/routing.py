"""What a request asks of the router, read from its body and its headers."""

from __future__ import annotations

import math

from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Routing

from .exchange import Call
from .fields import GenerationFields

TIER_HEADER = "x-pennyweight-tier"
MAX_COST_HEADER = "x-pennyweight-max-cost"
# OpenAI's own, which ask for no tier of ours by that name.
OPENAI_TIERS = ("auto", "default", "flex", "scale", "priority")


def routing_of(call: Call, fields: GenerationFields) -> Routing | None:
    """None for a request that names its model. The header's tier and ceiling count before the body's.

    Raises InvalidRequest under the parameter's name.
    """
    tiers = call.settings.tiers
    asked = fields.service_tier
    if asked is not None and asked not in (*OPENAI_TIERS, *tiers):
        allowed = ", ".join((*OPENAI_TIERS, *tiers))
        raise InvalidRequest(f"Invalid value for 'service_tier': it must be one of {allowed}.", param="service_tier")
    if fields.model not in call.routes:
        if fields.max_cost is not None:
            raise InvalidRequest("'max_cost' is for the router: it needs the model 'auto'.", param="max_cost")
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers}
    tier = headers.get(TIER_HEADER) or (asked if asked in tiers else None)
    return Routing(tier=tier, max_cost=_ceiling(headers, fields.max_cost), headers=headers)


def _ceiling(headers: dict[str, str], given: float | None) -> float | None:
    text = headers.get(MAX_COST_HEADER)
    if text is None:
        return given
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InvalidRequest(f"The header '{MAX_COST_HEADER}' must be US dollars, at least 0.", param=MAX_COST_HEADER)
    return value
