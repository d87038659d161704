"""What the router decided for a request, with all that it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pennyweight.server.errors import PennyweightError

from .target import Target
from .tier import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A policy's word for a tier: why, in a few words, and the numbers that it went by. ``model`` is to be tried first, if any is.

    With a ``stronger`` tier the answer of ``tier`` is judged before it is given, and dropped for that one's where the judges are not sure.
    """

    tier: str
    model: str | None = None
    stronger: str | None = None
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A model that was looked at: why it can't be taken, or what orders it within its tier, each number the less the better."""

    target: Target
    tier: str
    refusal: str | None
    order: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A model whose kept answer may be given when none answers, by its tier's setting: up to ``max_stale`` seconds after its time was over."""

    target: Target
    tier: str
    max_stale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``chain`` are the models to try, the best first; those from ``num_own`` on are the tier's fallbacks. It is empty where the models that
    could take the request can't now, as ``refusal`` says; ``kept`` are those whose kept answers may be given when none answers.
    ``considered`` are all of every tier, for who wants it explained. ``escalation`` is the decision that is carried out as well where the answer to this one is
    judged not to be sure enough."""

    tier: Tier
    policy: str
    choice: Choice
    chain: tuple[Target, ...]
    num_own: int
    considered: tuple[Considered, ...]
    kept: tuple[Kept, ...] = ()
    refusal: PennyweightError | None = None
    escalation: Decision | None = None
