"""What a configuration says of routing: rules, each with its conditions and where it leads, and how a cascade judges."""

from __future__ import annotations

from typing import Literal

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


class CascadeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the weaker tier's answer is given, and when the stronger is asked as well: ``judges`` are asked in their order, and the first
    that is not sure decides.

    ``schema``: what the request asks for in JSON, choices or calls of tools must be whole and valid. ``margin``: how far a token's
    probability is above the next likely one's, the mean over the answer's tokens or (``margin_over: least``) the least of them, is to be at
    least ``min_margin``; with a ``calibration`` (a file made by ``pennyweight router calibrate``) what it says of the answer's being
    right is to be at least ``min_right``. ``agreement``: of ``samples`` further answers, drawn at ``sample_temperature``, a share of
    ``min_agreement`` says the same.
    """

    judges: tuple[Literal["schema", "margin", "agreement"], ...] = ("schema", "margin")
    margin_over: Literal["mean", "least"] = "mean"
    min_margin: float = 0.6
    calibration: str | None = None
    min_right: float = 0.8
    samples: int = 3
    sample_temperature: float = 0.7
    min_agreement: float = 0.5
