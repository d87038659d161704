"""What an operator asks of the semantic cache."""

from __future__ import annotations

from typing import Literal

import msgspec


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``share`` of ``over`` (all requests, or those answered from the cache) are given a wrong answer.

    Of the requests that could be answered ``audit_share`` are generated all the same and judged. ``confidence`` is the width of the
    calibration's band in standard deviations. ``strict`` holds the bound over all requests by the audits alone, whatever else is
    wrong (see ``wrong_budget``); over hits there is nothing that could.
    """

    share: float = 0.01
    over: Literal["requests", "hits"] = "requests"
    audit_share: float = 0.1
    confidence: float = 1.0
    strict: bool = False
