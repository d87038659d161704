"""The request header Cache-Control (RFC 9111, 5.2.1), and what it asks of the response cache together with the body's ``cache``."""

from __future__ import annotations

import re

import msgspec

from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import CacheControl

HEADER = "Cache-Control"
# A directive, with its argument as a token or a quoted string, and the comma or the end after it.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_DIRECTIVE = re.compile(
    rf'[ \t]*(?:(?P<name>{_TOKEN})(?:=(?:(?P<token>{_TOKEN})|"(?P<quoted>(?:[^"\\]|\\.)*+)"))?[ \t]*)?(?:,|$)'
)
# What a number of seconds beyond what a cache can hold counts as (RFC 9111, 1.2.2).
MOST_SECONDS = 2**31


def read_cache_control(text: str) -> CacheControl:
    """What the header says, its several lines joined by commas. Directives that mean nothing here are passed over.

    Raises InvalidRequest for what is no list of directives, and for seconds that are no number.
    """
    asked = CacheControl()
    place = 0
    while place < len(text):
        found = _DIRECTIVE.match(text, place)
        if found is None:
            raise InvalidRequest(f"The header {HEADER} is no list of directives.", param=HEADER)
        place = found.end()
        match (found["name"] or "").lower():
            case "no-store":
                asked = msgspec.structs.replace(asked, no_store=True)
            case "no-cache":
                asked = msgspec.structs.replace(asked, no_cache=True)
            case "only-if-cached":
                asked = msgspec.structs.replace(asked, only_if_cached=True)
            case "max-age":
                age = _seconds(found, "max-age")
                asked = msgspec.structs.replace(
                    asked, max_age=age if asked.max_age is None else min(age, asked.max_age)
                )
            case "stale-if-error":
                # RFC 5861, 4.
                stale = _seconds(found, "stale-if-error")
                asked = msgspec.structs.replace(
                    asked, stale_if_error=stale if asked.stale_if_error is None else min(stale, asked.stale_if_error)
                )
    return asked


def with_body(asked: CacheControl, cache: bool | None) -> CacheControl:
    """The same with what the body's ``cache`` says; of the two the stricter counts."""
    if cache is None:
        return asked
    return msgspec.structs.replace(asked, wanted=cache, no_store=asked.no_store or not cache)


def _seconds(found: re.Match[str], directive: str) -> int:
    argument: str | None = found["token"] if found["quoted"] is None else found["quoted"]
    if argument is None or not (argument.isascii() and argument.isdecimal()):
        raise InvalidRequest(f"The header {HEADER} has a {directive} that is no number of seconds.", param=HEADER)
    return int(argument) if len(argument) <= 10 and int(argument) < MOST_SECONDS else MOST_SECONDS
