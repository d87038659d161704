"""What a replay comes to over all of its requests, in memory that doesn't grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from .comparison import Comparison
from .manifests import Difference as ManifestDifference
from .verdict import Parting, Verdict

# As many pairs of fingerprints are told apart, and as many names of differences.
MOST_NAMES = 64


class Agreement(msgspec.Struct):
    """What the replaying engine's logits say of recorded answers, read as part of the prompt. ``places`` of ``answers`` were scored for the
    most probable token, which in ``agreeing`` of them is the recorded one; ``known`` of them have a recorded probability too, and
    ``sum_difference`` and ``max_difference`` are of the absolute differences of natural-log probabilities.
    """

    answers: int = 0
    places: int = 0
    agreeing: int = 0
    known: int = 0
    sum_difference: float = 0.0
    max_difference: float = 0.0

    @property
    def share(self) -> float | None:
        """The top-1 agreement."""
        return self.agreeing / self.places if self.places else None

    @property
    def mean_difference(self) -> float | None:
        """Of the log-probabilities, None where none were recorded."""
        return self.sum_difference / self.known if self.known else None

    def add(self, agreeing: Sequence[bool], differences: Sequence[float]) -> None:
        """Of one answer: whether each token is the most probable, and how far each probability is from the recorded one."""
        self.answers += 1
        self.places += len(agreeing)
        self.agreeing += sum(agreeing)
        self.known += len(differences)
        self.sum_difference += sum(differences)
        self.max_difference = max(self.max_difference, *differences, 0.0)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A divergence with the texts around it: ``before`` comes before both tokens."""

    id: str
    parting: Parting | None
    prompt_position: int | None = None
    before: str = ""
    recorded_text: str = ""
    replayed_text: str = ""


class ManifestChange(msgspec.Struct, kw_only=True):
    """``requests`` were recorded under one fingerprint and replayed under another, which differ in ``parts``."""

    model: str
    recorded: str
    replayed: str
    parts: tuple[ManifestDifference, ...]
    requests: int = 0


class Cached(msgspec.Struct):
    """Of the requests that the response cache took part in: sent again to a cache that was empty at first, how many are known by the same key;
    what was done for them now, beside what was done before ("hit, now miss"); and how many of the answers are the same."""

    requests: int = 0
    same_key: int = 0
    results: Counter[str] = msgspec.field(default_factory=Counter)
    same_answer: int = 0


class Totals(msgspec.Struct):
    """``verdicts`` of all requests; ``tokens`` were compared, of which ``matched`` come before each answer's first difference. ``partings``
    are the positions of these, counted. ``differences`` counts requests by the names of what else differs, ``reasons`` those that were not
    compared or failed. ``routed`` were given a model by the router, ``same_route`` in all of it the same. ``shown`` are the first divergences.
    """

    requests: int = 0
    verdicts: Counter[str] = msgspec.field(default_factory=Counter)
    tokens: int = 0
    matched: int = 0
    partings: Counter[int] = msgspec.field(default_factory=Counter)
    differences: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    routed: int = 0
    same_route: int = 0
    cached: Cached = msgspec.field(default_factory=Cached)
    agreement: Agreement = msgspec.field(default_factory=Agreement)
    unscored: Counter[str] = msgspec.field(default_factory=Counter)
    manifests: list[ManifestChange] = msgspec.field(default_factory=list)
    shown: list[Shown] = msgspec.field(default_factory=list)

    def add(self, found: Comparison, *, is_routed: bool) -> None:
        """One more request."""
        self.requests += 1
        self.verdicts[found.verdict.value] += 1
        self.tokens += found.tokens
        self.matched += found.matched
        if found.parting is not None and found.parting.position is not None:
            self.partings[found.parting.position] += 1
        for name in {one.name for one in found.differences}:
            count(self.differences, name)
        if found.reason:
            count(self.reasons, found.reason)
        if is_routed and found.verdict not in (Verdict.FAILED, Verdict.SKIPPED):
            self.routed += 1
            self.same_route += not any(one.name.startswith("route.") for one in found.differences)

    def change_of(self, model: str, prints: tuple[str, str], parts: tuple[ManifestDifference, ...]) -> None:
        """One more request whose manifests differ."""
        for one in self.manifests:
            if (one.model, one.recorded, one.replayed) == (model, *prints):
                one.requests += 1
                return
        if len(self.manifests) < MOST_NAMES:
            change = ManifestChange(model=model, recorded=prints[0], replayed=prints[1], parts=parts, requests=1)
            self.manifests.append(change)

    @property
    def bitwise(self) -> int:
        """How many requests leave nothing to be asked."""
        return sum(self.verdicts[one.value] for one in Verdict if one.is_bitwise)

    @property
    def is_bitwise(self) -> bool:
        """Whether all do, in the router's decisions and the answers that the cache gave too."""
        same = self.routed == self.same_route and self.cached.requests == self.cached.same_answer
        return self.requests > 0 and self.bitwise == self.requests and same


def count(counter: Counter[str], name: str) -> None:
    """One more of a name; from so many names on, of all others."""
    counter[name if name in counter or len(counter) < MOST_NAMES else "others"] += 1
