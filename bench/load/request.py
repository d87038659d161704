"""A request that a load will send, planned before the load begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class PlannedRequest(msgspec.Struct, kw_only=True):
    """What is sent and when.

    ``at`` is in seconds from the load's start; None means as soon as a client is free. ``body`` is the request's JSON.
    ``prompt_tokens`` and ``output_tokens`` are what was planned, where it is known. Requests of one ``session`` are its turns,
    in order: each but the first is sent ``think_time`` seconds after the answer before it, and its ``messages`` are only what
    the user adds; the history, with the answers that really came, is put in front.
    """

    at: float | None = None
    body: dict[str, Any]
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    session: int | None = None
    think_time: float = 0.0


def sessions(requests: Sequence[PlannedRequest]) -> list[list[int]]:
    """The indices of the requests, those of a session together, ordered by their first one."""
    found: list[list[int]] = []
    of_session: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        if request.session is not None and request.session in of_session:
            of_session[request.session].append(index)
            continue
        found.append([index])
        if request.session is not None:
            of_session[request.session] = found[-1]
    return found
