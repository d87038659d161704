"""What a configuration says of routing: rules, each with its conditions and where it leads."""

from __future__ import annotations

import msgspec


class HeaderTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A condition on an HTTP header: that it is there, is ``equals`` as it stands, or has ``matches`` (RE2) somewhere in it."""

    name: str
    equals: str | None = None
    matches: str | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a request goes, to a ``tier`` or to a ``model``, if all the conditions that are set hold. Without any it is for all.

    Characters are those of all messages. ``scripts`` are names of ``router.scripts``: at least half of the letters that users wrote
    are of these. Code is a fence, or lines that look like code, in what users wrote. ``regex`` (RE2) is searched for in the user's last
    message. ``headers`` must all hold, of ``tenants`` one.
    """

    tier: str | None = None
    model: str | None = None
    min_chars: int | None = None
    max_chars: int | None = None
    scripts: tuple[str, ...] = ()
    has_code: bool | None = None
    has_tools: bool | None = None
    has_json_schema: bool | None = None
    tenants: tuple[str, ...] = ()
    headers: tuple[HeaderTest, ...] = ()
    regex: str | None = None
