"""Limits, enforced under the parameter's own name."""

from __future__ import annotations

from collections.abc import Sized

from pennyweight.server.errors import InvalidRequest


def check_at_most(value: int, limit: int, param: str) -> None:
    """Raise InvalidRequest when a number is over its limit."""
    if value > limit:
        raise InvalidRequest(f"Invalid value for '{param}': {value} is above the maximum of {limit}.", param=param)


def check_length(value: Sized, limit: int, param: str) -> None:
    """Raise InvalidRequest when something is longer than its limit."""
    if len(value) > limit:
        raise InvalidRequest(
            f"Invalid '{param}': its length {len(value)} is above the maximum of {limit}.", param=param
        )
